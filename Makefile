# Two commands: `make up` runs the street, `make test` runs every check. `make image` makes its containers' images.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: up test bench chaos check env clean base image

env: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[world,forecast,test]' --constraint constraints.txt
	touch $@

up: env
	$(BIN)/gridparley up street

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Real servers and processes on a machine that others use too: what fails is tried once more, and shown as rerun.
test: check
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder --reruns 1

# Where no image can be pulled: the base of the images from this machine's own Debian mirror, as root.
base:
	deploy/image/base.sh

# The images gridparley, gridparley-world and gridparley-nats. BASE: what they are built on; default the one that
# `make base` made, else a slim Python image that is pulled.
image: env
	$(BIN)/python deploy/image/build.py $(if $(BASE),--base $(BASE))

bench: env
	$(BIN)/python -m bench

# A street in a storm: seeded faults, and what must hold all the same (docs/chaos.md). `make chaos FOR=10m SEED=7`.
FOR ?= 1h
chaos: env
	$(BIN)/python -m tests.chaos.storm --for $(FOR) $(if $(SEED),--seed $(SEED))

clean:
	rm -rf .venv runs
