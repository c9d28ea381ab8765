"""Reads the environment. No other module reads it.

Names from label-studio-ml (LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY, BASIC_AUTH_USER,
BASIC_AUTH_PASS, MODEL_DIR, LOG_LEVEL, HOST, PORT, WORKERS, THREADS) have the same meaning here.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AliasChoices,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.errors import SettingsError
from backend.model_settings import check_model
from backend.moved_settings import refuse_moved
from backend.settings_errors import in_words
from taudis.errors import SelectionError
from taudis.selection.params import PRESETS, SelectionParams, read_params
from taudis.selection.strategies import STRATEGIES


class Settings(BaseSettings):
    """All settings, from the environment. `load_settings` checks them and explains errors."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    # --- Label Studio -----------------------------------------------------------------------
    label_studio_url: str = Field(
        "",
        validation_alias=AliasChoices("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
        description="Label Studio's address as this machine reaches it, e.g. http://localhost:8080."
        " Empty: the address that Label Studio gives when it connects, once confirmed.",
    )
    label_studio_public_url: str = Field(
        "",
        description="Label Studio's address as people type it, if it differs from"
        " LABEL_STUDIO_URL: the name that Label Studio gives itself (its LABEL_STUDIO_HOST)."
        " Images with this address are fetched from LABEL_STUDIO_URL.",
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_ACCESS_TOKEN"),
        description="Access token of a Label Studio user: legacy token or personal access token."
        " Empty: the token that Label Studio sends when it connects, if it sends one.",
    )

    # --- the web process --------------------------------------------------------------------
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(9090, ge=1, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, le=16, description="Web processes (gunicorn).")
    threads: int = Field(8, ge=1, le=64, description="Threads of a web process.")
    basic_auth_user: str = Field("", description="User name that callers must give.")
    basic_auth_pass: SecretStr = Field(SecretStr(""), description="Password that callers must give")
    backend_url: str = Field(
        "",
        description="This backend's address on Label Studio's Model page. Empty: the address at"
        " which Label Studio calls. Needed if a proxy changes host, scheme or path.",
    )
    max_request_bytes: int = Field(
        32_000_000, ge=1_000, description="Largest request body accepted, bytes."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Log level")

    # --- data -------------------------------------------------------------------------------
    model_dir: Path = Field(
        Path("data"), description="Data directory: store, models, predictions, secrets, cache."
    )
    keep_versions: int = Field(
        3, ge=2, description="Versions whose predictions and checkpoints are kept."
    )
    cache_bytes: int = Field(5_000_000_000, ge=0, description="Image cache on disk, bytes.")

    # --- the loop ---------------------------------------------------------------------------
    budget: int = Field(16, ge=1, description="B: images that a round chooses to label next.")
    train_after: int | None = Field(
        None, ge=1, description="Changed tasks that start a round. Empty: the budget."
    )
    poll_seconds: float = Field(60.0, gt=0, description="Pause between two polls of Label Studio.")
    score_seconds: float | None = Field(
        300.0,
        gt=0,
        description="Time limit of a round for scoring, seconds. Images that are not scored in this"
        " time keep their previous order, behind the others; the next round continues with them."
        " Empty: no limit.",
    )
    validation_fraction: float = Field(
        0.2, ge=0, lt=1, description="Share of labelled tasks never trained on."
    )

    # --- selection --------------------------------------------------------------------------
    strategy: str = Field(
        "taudis",
        description="Query strategy: a name that `python -m taudis strategies` lists, as"
        " docs/strategies.md does.",
    )
    selection: str = Field(
        "default",
        description="Hyper-parameters of the query strategy: `default`, `paper` (the paper's"
        " values), or the path of a JSON file with some of them (see docs/strategies.md).",
    )
    embedding: Literal["mask", "box", "query"] = Field(
        "mask",
        description="Branch of the model whose features are the embeddings: mask, box (only"
        " mask_rcnn) or query (only mask2former).",
    )
    first_order: Literal["random", "core_set"] = Field(
        "random",
        description="Order before the first model: random (the paper's seed set), or core_set"
        " (diverse images first, by an ImageNet backbone). See docs/selection.md.",
    )
    control_share: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Share of the queue in random order, up to 0.5, to measure whether the"
        " strategy's order pays. See docs/control_arm.md.",
    )
    seed: int = Field(0, ge=0, description="Seed of everything random.")

    # --- the model --------------------------------------------------------------------------
    model: Literal["mask_rcnn", "mask2former"] = Field(
        "mask_rcnn",
        description="Model to train: mask_rcnn, or mask2former (a transformer; needs the extra"
        " `mask2former`, and WEIGHTS=none or a folder). See docs/adapters.md.",
    )
    recipe: Literal["auto", "cpu", "small", "paper"] = Field(
        "auto",
        description="Training recipe. auto: small (one GPU) if there is a GPU, else cpu.",
    )
    backbone: Literal[
        "", "efficientnet_lite0", "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large"
    ] = Field(
        "",
        description="Backbone instead of the recipe's, for WEIGHTS=none or a file. COCO weights "
        "need resnet50, imagenet efficientnet_lite0.",
    )
    max_steps: int | None = Field(
        None, ge=1, description="Cap on the training steps of a round. Empty: the recipe's own."
    )
    weights: str = Field(
        "imagenet",
        description="Initial weights: imagenet (of the backbone; installed, not downloaded), none, "
        "coco (torchvision's, downloaded), or a file's path. See docs/weights.md. For mask2former:"
        " none, or a folder of transformers' or of a checkpoint.",
    )
    warm_start: bool = Field(
        False,
        description="Start each training from the serving model, with fewer steps, instead of from"
        " WEIGHTS. The paper resets the weights each time. See docs/weights.md.",
    )
    score_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Lowest score of an instance that becomes a pre-annotation. Empty: chosen for"
        " each label on the validation split, for the least correction; 0.5 until there is one.",
    )
    blank_share: float = Field(
        0.0, ge=0, le=0.5, description="Share of tasks without pre-annotations, always the same."
    )
    torch_threads: int = Field(1, ge=1, description="CPU threads of training and scoring.")
    ray_address: str = Field(
        "",
        description="Address of a ray cluster, HOST:PORT, whose processes score the pool. Empty:"
        " the worker does. Needs the extra `ray`. See docs/scale.md.",
    )
    ray_actors: int | None = Field(
        None,
        ge=1,
        description="Processes of RAY_ADDRESS that score. Empty: one per GPU, else one per core.",
    )
    nice: int = Field(10, ge=0, le=19, description="Niceness of the worker.")

    # --- images -----------------------------------------------------------------------------
    allowed_image_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts besides Label Studio that may serve images; *: any public host."
    )
    allow_private_image_hosts: bool = Field(
        False, description="Whether the allowed hosts may be on private addresses."
    )
    local_files_root: Path | None = Field(
        None,
        validation_alias=AliasChoices(
            "LOCAL_FILES_ROOT",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT",
            "LOCAL_FILES_DOCUMENT_ROOT",
        ),
        description="Folder of Label Studio's local files, if this machine can read it.",
    )
    max_image_bytes: int = Field(50_000_000, ge=1_000, description="Largest image file, bytes.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Largest image, pixels.")
    image_timeout: float = Field(20.0, gt=0, description="Time limit of one image, seconds.")

    @field_validator("label_studio_url", "label_studio_public_url", "backend_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("expected an address that starts with http:// or https://")
        if "@" in value:  # the address is displayed, so it must have no password
            raise ValueError("expected an address without a user name and password")
        return value.rstrip("/")

    @field_validator("strategy")
    @classmethod
    def _known_strategy(cls, value: str) -> str:
        if value not in STRATEGIES:
            raise ValueError(f"expected one of {', '.join(STRATEGIES)}")
        return value

    @field_validator("selection")
    @classmethod
    def _readable_parameters(cls, value: str) -> str:
        """A preset, or an absolute path, because child processes may run in another folder."""
        name = value or "default"
        read_params(name)
        return name if name in PRESETS else str(Path(name).absolute())

    @field_validator("allowed_image_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "train_after",
        "max_steps",
        "score_threshold",
        "score_seconds",
        "local_files_root",
        "ray_actors",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    _selection_params: SelectionParams = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:
        """Read the hyper-parameters once, so that a later change of the file has no effect."""
        self._selection_params = read_params(self.selection)

    @property
    def selection_params(self) -> SelectionParams:
        """The hyper-parameters of the query strategy, from SELECTION."""
        return self._selection_params

    @property
    def changes_per_round(self) -> int:
        """Number of changed tasks that starts a round: TRAIN_AFTER, by default the budget."""
        return self.train_after or self.budget

    @property
    def has_credentials(self) -> bool:
        """Whether callers must authenticate."""
        return bool(self.basic_auth_user and self.basic_auth_pass.get_secret_value())


def load_settings(**overrides: object) -> Settings:
    """Read and check the environment.

    Raises:
        SettingsError: lists each wrong variable with its expected and its given value.
    """
    refuse_moved(os.environ)
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(f"Settings that cannot be used:\n{in_words(error)}") from None
    _check_pairs(settings)
    return settings


def given_variables() -> frozenset[str]:
    """The names of all environment variables, including those of other programs."""
    return frozenset(os.environ)


def set_for_libraries(name: str, value: str) -> None:
    """Set an environment variable for a library, unless it is already set."""
    os.environ.setdefault(name, value)


def _check_pairs(settings: Settings) -> None:
    """Raise SettingsError for combinations that make no sense."""
    if bool(settings.basic_auth_user) != bool(settings.basic_auth_pass.get_secret_value()):
        raise SettingsError("Set both BASIC_AUTH_USER and BASIC_AUTH_PASS, or neither.")
    if settings.label_studio_api_key.get_secret_value() and not settings.label_studio_url:
        raise SettingsError(
            "LABEL_STUDIO_API_KEY is set but LABEL_STUDIO_URL is not: the key would be sent to"
            " whatever address connects first. Set LABEL_STUDIO_URL, e.g. http://localhost:8080."
        )
    check_model(
        settings.model, settings.recipe, settings.backbone, settings.weights, settings.embedding
    )
    try:
        STRATEGIES[settings.strategy].check(settings.selection_params)
    except SelectionError as error:
        raise SettingsError(
            f"STRATEGY={settings.strategy} with SELECTION={settings.selection}: {error}"
        ) from None


def check_bind(settings: Settings) -> None:
    """Refuse to listen beyond loopback without credentials.

    Raises:
        SettingsError: the message names the variables to set.
    """
    if settings.has_credentials or is_loopback(settings.host):
        return
    raise SettingsError(
        f"Refusing to listen on {settings.host} without credentials: anybody on that network could"
        " start trainings and read predictions. Set BASIC_AUTH_USER and BASIC_AUTH_PASS (and give"
        " the same two on Label Studio's Model page), or HOST=127.0.0.1."
    )


def is_loopback(host: str) -> bool:
    """Whether a bind address can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
