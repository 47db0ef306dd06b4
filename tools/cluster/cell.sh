set -euo pipefail
repository=@repository@
case $CELL in
@cases@
*) echo "no cell $CELL: there are @count@, from 0" >&2; exit 2 ;;
esac
branch=study/@study@/$name

# A second start runs only the cells that are not there.
if git ls-remote --exit-code "$repository" "refs/heads/$branch" >/dev/null; then
  echo "the branch $branch is there already"
  exit 0
fi

folder=$(mktemp -d "${ARCMIX_SCRATCH:-${TMPDIR:-/tmp}}/arcmix.XXXXXXXX")
trap 'rm -rf "$folder"' EXIT
git clone --quiet --no-checkout "$repository" "$folder"
cd "$folder"
git checkout --quiet -b "$branch" @commit@
git config user.email >/dev/null || git config user.email study@localhost
git config user.name >/dev/null || git config user.name study

if [ -n "${ARCMIX_VENV:-}" ]; then ln -s "$ARCMIX_VENV" .venv; else make setup; fi
PATH=$PWD/.venv/bin:$PATH
dvc exp run --name "$name" "${values[@]}"

# The branch has the dvc.lock of the run, by which dvc gc --all-branches knows its files.
make -o .venv/.up-to-date push
git add --all
git commit --quiet --message="Run $name of study @study@"
git push --quiet "$repository" "$branch"
