# Everything the project needs on a machine, and how it is run. `make` alone says what there is.

# The distribution's interpreter: BCC's Python half is built for it and for no other.
PYTHON := /usr/bin/python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
VENV := .venv
PACKAGES := python3 python3-venv python3-bpfcc
TEST_PACKAGES := bpftool chromium curl debootstrap e2fsprogs gcc iperf3 iproute2 kmod libc6-dev logrotate nginx-light \
	postgresql procps prometheus-alertmanager rsyslog shellcheck systemd wrk xz-utils zstd
CONFIG := config.yaml
UNIT := /etc/systemd/system/sockbpf.service
SETTINGS := /etc/sockbpf/config.yaml

.PHONY: help setup install user service run check demo lint fast test vm bench bench-quick clean

help:
	@echo 'make run     set up, then watch with $(CONFIG)'
	@echo 'make test    set up, then all tests'
	@echo 'make setup   .venv/bin/sockbpf beside the code'
	@echo 'make install sockbpf on the PATH, for: sudo sockbpf -c config.yaml'
	@echo 'make service sockbpf under systemd, now and after every boot'
	@echo 'make demo    see an alert arrive'
	@echo 'make check   what this kernel can do'
	@echo 'make vm      the claims on stock kernels under emulation'
	@echo 'make bench   what the README says of cost and speed, measured here'
	@echo 'make bench-quick   only that all of it runs'
	@echo 'make fast    linters and the tests that need no kernel'

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	dpkg -s $(PACKAGES) >/dev/null 2>&1 || \
		{ $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		  apt-get install -y -qq --no-install-recommends $(PACKAGES); }
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e .
	touch $@

$(VENV)/.ready-for-tests: $(VENV)/.ready Makefile
	dpkg -s $(TEST_PACKAGES) >/dev/null 2>&1 || \
		{ $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		  apt-get install -y -qq --no-install-recommends $(TEST_PACKAGES); }
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

install: setup user
	$(SUDO) ln -sf $(abspath $(VENV))/bin/sockbpf /usr/local/bin/sockbpf

# Who the store is, and nobody else: no other service shares it, nobody logs in as it.
user:
	@getent passwd sockbpf-store >/dev/null || $(SUDO) useradd --system --user-group --no-create-home \
		--home-dir /nonexistent --shell /usr/sbin/nologin --comment "sockbpf's store" sockbpf-store

# Run again it takes over what has changed, but never the settings.
service: install
	@[ -d /run/systemd/system ] || { echo 'systemd does not run here'; exit 1; }
	@[ -e $(SETTINGS) ] || { $(SUDO) install -D -m 600 $(CONFIG) $(SETTINGS) && echo 'new: $(SETTINGS)'; }
	$(SUDO) install -m 644 systemd/sockbpf.service $(UNIT)
	$(SUDO) systemctl daemon-reload
	$(SUDO) systemctl enable -q sockbpf
	$(SUDO) systemctl restart sockbpf
	@echo 'sockbpf watches, now and after every boot: systemctl status sockbpf, journalctl -u sockbpf'
	@echo 'settings: $(SETTINGS); then systemctl restart sockbpf'

run: setup
	$(SUDO) $(VENV)/bin/sockbpf -c $(CONFIG)

check: setup
	$(SUDO) $(VENV)/bin/sockbpf check -c $(CONFIG)

demo: setup
	$(SUDO) $(VENV)/bin/sockbpf demo

# What stops a commit first: formatting, lint, types.
lint: $(VENV)/.ready-for-tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run --Werror bpf/*.c bpf/*.h
	shellcheck vagrant/*.sh

fast: lint
	$(VENV)/bin/pytest tests/unit

# Stock kernels under emulation: all, or one by its name, as in `make vm KERNEL=6.1`.
vm: $(VENV)/.ready-for-tests
	$(SUDO) $(VENV)/bin/pytest tests/vm $(if $(KERNEL),-k 'claims_hold and $(KERNEL)-')

# On a quiet machine; some of it by `make bench FIGURES=delivery`.
bench: $(VENV)/.ready-for-tests
	$(SUDO) $(VENV)/bin/python -m bench $(FIGURES)

# Only that everything runs and nothing is missed; the times mean nothing.
bench-quick: $(VENV)/.ready-for-tests
	$(SUDO) $(VENV)/bin/python -m bench --quick $(FIGURES)

test: lint
	$(SUDO) $(VENV)/bin/pytest $(PYTEST_ARGS)

clean:
	rm -rf $(VENV)
