#!/usr/bin/env bash
# Installs one wheel under every Python from 3.10 on that this machine has, and runs smoke.py there.
set -euo pipefail
wheel=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
uv=$here/../.venv/bin/uv
environments=$(mktemp -d)
trap 'rm -rf "$environments"' EXIT

# The wheel must not name one Python's library: it is loaded by many.
unzip -q -o "$wheel" 'runpod_flash/*.so' -d "$environments/wheel" 2>/dev/null ||
  python3 -m zipfile -e "$wheel" "$environments/wheel"
if command -v readelf >/dev/null; then
  if readelf -d "$environments"/wheel/runpod_flash/*.so | grep -i 'NEEDED.*libpython'; then
    echo "the wheel links libpython" >&2
    exit 1
  fi
else
  echo "left out: libpython check (no readelf)"
fi

declare -A found=()
for python in "$HOME"/.pyenv/versions/3.*/bin/python3 $(type -aP python3 python3.{10..19} 2>/dev/null || true); do
  version=$("$python" -c 'import sys; sys.version_info >= (3, 10) and print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  [[ -n $version ]] && : "${found[$version]:=$python}"
done
for minor in 10 11 12 13 14; do
  [[ -n ${found[3.$minor]:-} ]] || echo "left out: Python 3.$minor (not found)"
done

failed=0
for version in $(printf '%s\n' "${!found[@]}" | sort -V); do
  echo "Python $version: ${found[$version]}"
  python=$environments/$version/bin/python
  "$uv" venv --quiet --no-python-downloads --python "${found[$version]}" "$environments/$version"
  "$uv" pip install --quiet --python "$python" "$wheel"
  "$python" "$here/smoke.py" || failed=1
done
exit "$failed"
