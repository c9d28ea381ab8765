"""The one place that reads the environment.

Names that users of label-studio-ml know (LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY, BASIC_AUTH_USER,
BASIC_AUTH_PASS, MODEL_DIR, LOG_LEVEL, HOST, PORT, WORKERS, THREADS) mean here what they mean there.
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
from taudis.errors import SelectionError
from taudis.selection.params import PRESETS, SelectionParams, read_params
from taudis.selection.strategies import STRATEGIES


class Settings(BaseSettings):
    """Everything that can be set, from the environment. `load_settings` checks and explains."""

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
        " Images that tasks name by it are asked from LABEL_STUDIO_URL.",
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
        description="This backend's address on Label Studio's Model page. Empty: the one at which"
        " Label Studio calls. A proxy that changes host, scheme or path needs it.",
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
    budget: int = Field(16, ge=1, description="B: images a round wants labelled next.")
    train_after: int | None = Field(
        None, ge=1, description="Changed tasks that start a round. Empty: the budget."
    )
    poll_seconds: float = Field(60.0, gt=0, description="Pause between two polls of Label Studio.")
    score_seconds: float | None = Field(
        300.0,
        gt=0,
        description="Time a round spends on scoring before it publishes, seconds. Images that it"
        " did not get to keep their old order behind; the next round goes on with them."
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
        description="Hyper-parameters of the query strategy: `default`, `paper` (what the paper"
        " ran), or the path of a JSON file with some of them, which docs/strategies.md lists.",
    )
    embedding: Literal["mask", "box", "query"] = Field(
        "mask",
        description="Branch of the model whose features are the embeddings: mask, box (mask_rcnn"
        " alone) or query (mask2former alone).",
    )
    first_order: Literal["random", "core_set"] = Field(
        "random",
        description="Order before the first model: random (the paper's seed set), or core_set"
        " (images that differ, by an ImageNet backbone that looks at all). See docs/selection.md.",
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
        description="What is trained: mask_rcnn, or mask2former (a transformer; needs the extra"
        " `mask2former`, WEIGHTS=none or a folder). See docs/adapters.md.",
    )
    recipe: Literal["auto", "cpu", "small", "paper"] = Field(
        "auto",
        description="Training recipe. auto: small (one GPU) where there is a GPU, else cpu.",
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
        description="Train on from the serving model, in fewer steps, instead of from WEIGHTS. "
        "The paper resets the weights each time. See docs/weights.md.",
    )
    score_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Lowest score of an instance drawn as a pre-annotation. Empty: chosen for each"
        " label on the validation split, for the least correction; 0.5 while there is none.",
    )
    blank_share: float = Field(
        0.0, ge=0, le=0.5, description="Share of tasks without pre-annotations, the same always."
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
        description="Processes of RAY_ADDRESS that score. Empty: one a GPU, else one a core.",
    )
    nice: int = Field(10, ge=0, le=19, description="Niceness of the worker.")

    # --- images -----------------------------------------------------------------------------
    allowed_image_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts besides Label Studio that images may come from; * for any public."
    )
    allow_private_image_hosts: bool = Field(
        False, description="Let the allowed hosts be on private addresses."
    )
    local_files_root: Path | None = Field(
        None,
        validation_alias=AliasChoices(
            "LOCAL_FILES_ROOT",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT",
            "LOCAL_FILES_DOCUMENT_ROOT",
        ),
        description="Folder that Label Studio's local files lie in, if this machine sees it too.",
    )
    max_image_bytes: int = Field(50_000_000, ge=1_000, description="Largest image file, bytes.")
    max_image_pixels: int = Field(50_000_000, ge=1, description="Largest image, pixels.")
    image_timeout: float = Field(20.0, gt=0, description="Time limit of one image, seconds.")

    @field_validator("label_studio_url", "label_studio_public_url", "backend_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("expected an address that starts with http:// or https://")
        if "@" in value:  # it would be displayed with the address
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
        """A preset, or an absolute path: the processes that are started may run elsewhere."""
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
        """Read the hyper-parameters once, so that a process never sees a file change."""
        self._selection_params = read_params(self.selection)

    @property
    def selection_params(self) -> SelectionParams:
        """The hyper-parameters of the query strategy, which SELECTION names."""
        return self._selection_params

    @property
    def changes_per_round(self) -> int:
        """Changed tasks that start a round: TRAIN_AFTER, by default the budget."""
        return self.train_after or self.budget

    @property
    def has_credentials(self) -> bool:
        """Whether callers must authenticate."""
        return bool(self.basic_auth_user and self.basic_auth_pass.get_secret_value())


def load_settings(**overrides: object) -> Settings:
    """Read and check the environment.

    Raises:
        SettingsError: naming every variable that is wrong, what was expected and what came.
    """
    refuse_moved(os.environ)
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"  {str(item['loc'][0]).upper()}: {item['msg']} (got {item['input']!r})"
            for item in error.errors(include_url=False)
            if item["loc"]
        ]
        lines = [_without_secrets(line) for line in lines] or ["  " + str(error)]
        raise SettingsError("Settings that cannot be used:\n" + "\n".join(lines)) from None
    _check_pairs(settings)
    return settings


def given_variables() -> frozenset[str]:
    """The names of all environment variables, other programs' included."""
    return frozenset(os.environ)


def set_for_libraries(name: str, value: str) -> None:
    """Set a variable that a library below reads by itself, unless the engineer has set it."""
    os.environ.setdefault(name, value)


def _without_secrets(line: str) -> str:
    """Drop the value from a line about a password or token, or with user info in an address."""
    name, value = line.split(":", 1)
    secret = "PASS" in name or "KEY" in name or "TOKEN" in name or "@" in value
    return line.split(" (got", 1)[0] if secret else line


def _check_pairs(settings: Settings) -> None:
    """Refuse combinations that cannot be meant."""
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
        SettingsError: with the variables to set.
    """
    if settings.has_credentials or is_loopback(settings.host):
        return
    raise SettingsError(
        f"Refusing to listen on {settings.host} without credentials: anybody on that network could"
        " start trainings and read predictions. Set BASIC_AUTH_USER and BASIC_AUTH_PASS (and give"
        " the same two on Label Studio's Model page), or HOST=127.0.0.1."
    )


def is_loopback(host: str) -> bool:
    """Whether a bind address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
