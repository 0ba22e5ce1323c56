#!/bin/sh
# install.sh TARGET FROM: installs all wheels of a folder, or the project in one, without network, thinned and compiled.
set -eu
python3 -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else
    f"the base has Python {sys.version.split()[0]}, the wheels are for 3.11: give another base with make image BASE=...")'
case "$2" in
/src) what="--find-links /wheels/tools $2" ;;
*) what="$2/*.whl" ;;
esac
pip=$(echo /wheels/tools/pip-*.whl)
# shellcheck disable=SC2086  # a list of files
python3 "$pip/pip" --no-cache-dir --disable-pip-version-check install --quiet --no-index --no-deps --no-compile \
    --root-user-action ignore --target "$1" $what
cd "$1"
rm -rf bin
# Tests, headers and sources of dependencies. numpy.testing, which others load, needs one module of numpy's own tests.
find . -depth -type d \( -name tests -o -name test \) ! -path './numpy/_core/tests' ! -path './contracts/*' -exec rm -rf {} +
if [ -d numpy ]; then
    find numpy/_core/tests -type f ! -name _natype.py ! -name __init__.py -delete
fi
find . \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.a' -o -name '*.pyi' \) \
    -type f -delete
rm -rf pyarrow/include pyarrow/src pyarrow/libarrow_flight* pyarrow/libarrow_python_flight* pyarrow/libarrow_substrait* \
    matplotlib/mpl-data/sample_data
find . -depth -type d -empty -delete
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash .
