#!/usr/bin/env bash
# Runs TAUDIS on the real label-studio-ml 2.x, which is in no package index.
#
#   tests/contract/label_studio_ml_2.sh GIT [--studio]
#
# GIT is a checkout or bare clone of HumanSignal/label-studio-ml-backend. --studio also runs a round
# and a prediction on the spot against the Label Studio of .venv-studio.
# The environment is made in a temporary folder: requirements.txt, then 2.x on top as pip would put
# it there. Its label-studio-sdk comes from the package index, since 2.x asks for a git address.
# Exit code 0: every answer was as expected. docs/label_studio_ml.md says what was found.
set -euo pipefail
source=$(realpath "${1:?a checkout or bare clone of label-studio-ml-backend}")
studio=${2:-}
root=$(realpath "$(dirname "$0")/../..")
uv=$root/.venv-tools/bin/uv
test -x "$uv" || { echo "Run 'make dev' first: $uv is missing." >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# file by file and without the examples, which a partial clone may lack
git -C "$source" ls-tree -r --name-only HEAD \
  | grep -E '^label_studio_ml/|^(setup\.py|requirements\.txt|README\.md|MANIFEST\.in)$' \
  | grep -v '^label_studio_ml/examples/' \
  | while read -r name; do
      mkdir -p "$work/source/$(dirname "$name")"
      git -C "$source" show "HEAD:$name" >"$work/source/$name"
    done
sed -i -E 's/^(label-studio-sdk) *@.*/\1/' "$work/source/requirements.txt"

"$uv" venv --quiet --python "$root/.venv/bin/python" "$work/venv"
python=$work/venv/bin/python
"$uv" pip sync --quiet --require-hashes --python "$python" "$root/requirements.txt"
"$uv" pip uninstall --quiet --python "$python" label-studio-ml label-studio-tools
"$uv" pip install --quiet --python "$python" "$work/source" pytest pytest-timeout hypothesis
test "$studio" != --studio || "$uv" pip install --quiet --python "$python" pycocotools

echo "label-studio-ml-backend $(git -C "$source" log -1 --format='%h of %cs')"
echo "changed by it: $("$uv" pip freeze --quiet --python "$python" | sort | comm -13 \
  <(sed -nE 's/^([a-z0-9._-]+==[^ ;]+).*/\1/p' "$root/requirements.txt" | sort) - \
  | grep -E '^(numpy|opencv-python-headless|flask|werkzeug|pillow|label-studio-sdk)==' | xargs)"

failed=0
cd "$work"
PATH=$work/venv/bin:$PATH "$python" "$root/tests/contract/label_studio_ml_2.py" "$work" || failed=1
echo
cd "$root"
# 2.x and its SDK use what pydantic calls deprecated
pytest=("$python" -m pytest -q -p no:cacheprovider -W ignore::DeprecationWarning)
export MODEL_DIR=$work/tests OMP_NUM_THREADS=1
echo "Our tests of the model class, the web process and what starts it, on 2.x:"
"${pytest[@]}" tests/backend/web tests/backend/commands/test_serve.py \
  || failed=1
if test "$studio" = --studio; then
  echo "A round and a prediction on the spot, with a real Label Studio, on 2.x:"
  "${pytest[@]}" tests/studio/test_on_the_spot.py || failed=1
fi
exit $failed
