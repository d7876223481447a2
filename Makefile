# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Everything the project needs on a machine, and how it is run. `make` alone says what there is.

# The distribution's interpreter: BCC's Python half is built for it and for no other.
PYTHON := /usr/bin/python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
VENV := .venv
PACKAGES := python3 python3-venv python3-bpfcc
# msmtp-mta, which never listens, keeps nagios4-core from bringing a mail server.
TEST_PACKAGES := bpftool chromium curl debhelper debootstrap dnsmasq-base dnsperf dpkg-dev e2fsprogs fish gcc \
	groff-base iperf3 iproute2 kmod libc6-dev lintian logrotate mariadb-client-core mariadb-server-core msmtp-mta nagios-nrpe-plugin nagios-nrpe-server nagios4-core nginx-light nodejs \
	openssh-client openssh-server podman postgresql procps prometheus prometheus-alertmanager redis-server redis-tools \
	rsyslog runc shellcheck sudo systemd systemd-container tmux wrk xz-utils zsh zstd
C := bpf/*.c bpf/*.h
SHELL_SCRIPTS := .ci/run vagrant/*.sh
# The versions that a release was tried with; `make setup CONSTRAINTS=` takes the newest that pyproject.toml allows.
CONSTRAINTS := constraints.txt
# By the environment, since pip's own environment for a build then keeps to them too; each pip knows one of the two.
PINNED := $(if $(CONSTRAINTS),PIP_CONSTRAINT=$(abspath $(CONSTRAINTS)) PIP_BUILD_CONSTRAINT=$(abspath $(CONSTRAINTS)))
PIP := $(PINNED) $(VENV)/bin/pip install -q --disable-pip-version-check
# An emulator of BigQuery, for Python 3.11 and newer, which does not go with the versions that are pinned.
EMULATOR := $(VENV)/bqemulator
EMULATOR_PACKAGES := bqemulator==1.4.0 duckdb==2.0.1 numpy
# What a package is built with, for which machine (amd64, arm64), and for which Pythons: Debian 12's and 13's.
ARCH := $(shell dpkg --print-architecture)
PACKAGE_TOOLS := debhelper dpkg-dev $(if $(filter arm64,$(ARCH)),binutils-aarch64-linux-gnu)
DEB_PYTHONS := 3.11 3.13
PARTS := ansible bpf sockbpf systemd zabbix docs debian prometheus config.yaml pyproject.toml README.md CHANGELOG.md LICENSE LICENSES
# Where `make install` puts it.
PREFIX := /usr/local
PLACE := $(PREFIX)/lib/sockbpf
# The Pythons that pyproject.toml promises.
PYTHONS := 3.10 3.11 3.12 3.13
CONFIG := config.yaml
UNIT := /etc/systemd/system/sockbpf.service
SETTINGS := /etc/sockbpf/config.yaml

.PHONY: help setup tree manual install uninstall user service run demo self-test format lint lint-python lint-c lint-shell lint-page \
	unit unit-page check fast fields test coverage pythons constraints vm bench bench-quick deb clean

help:
	@echo 'make run     set up, then watch with $(CONFIG)'
	@echo 'make test    set up, then all tests'
	@echo 'make setup   .venv/bin/sockbpf beside the code'
	@echo 'make install sockbpf on the PATH, for: sudo sockbpf -c config.yaml'
	@echo 'make uninstall   takes that away again, but neither settings nor alerts'
	@echo 'make service sockbpf under systemd, now and after every boot'
	@echo 'make demo    see an alert arrive'
	@echo 'make self-test   what this kernel can do, tried on real sockets'
	@echo 'make check   linters and the tests that need no kernel'
	@echo 'make format  lay out the code as the linters want it'
	@echo 'make coverage    which lines of the code the tests of unit and abi run'
	@echo 'make pythons     the tests that need no kernel by each Python from 3.10 on'
	@echo 'make constraints take the newest packages that pyproject.toml allows'
	@echo 'make vm      the claims on stock kernels under emulation'
	@echo 'make bench   what the README says of cost and speed, measured here'
	@echo 'make deb     the Debian package, into build/; ARCH=arm64 for the other machine'
	@echo 'make bench-quick   only that all of it runs'
	@echo 'make fields  write into the documents what the table of fields says, and the screens of top'

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	dpkg -s $(PACKAGES) >/dev/null 2>&1 || \
		{ $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		  apt-get install -y -qq --no-install-recommends $(PACKAGES); }
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.ready-for-tests: $(VENV)/.ready Makefile
	dpkg -s $(TEST_PACKAGES) >/dev/null 2>&1 || \
		{ $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		  apt-get install -y -qq --no-install-recommends $(TEST_PACKAGES); }
	$(PIP) -e '.[dev]'
	! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ $(VENV)/bin/uv venv -q --clear --python $(PYTHON) $(EMULATOR) && \
		  $(VENV)/bin/uv pip install -q --python $(EMULATOR) $(EMULATOR_PACKAGES); }
	touch $@

# What makes the manual pages, the completion of shells, and a package of a release.
$(VENV)/.ready-for-packages: $(VENV)/.ready
	$(PIP) -e '.[package]'
	touch $@

# What is installed is made of a copy: nothing of a build comes into the checkout, or the other way round.
tree:
	$(SUDO) rm -rf build/tree build/wheel && mkdir -p build/tree
	cp -r bpf sockbpf pyproject.toml README.md LICENSE LICENSES build/tree/
	find build/tree -name __pycache__ -prune -exec rm -r {} +

manual: $(VENV)/.ready-for-packages
	$(SUDO) rm -rf build/manual
	$(VENV)/bin/python -m package build/manual

# Of the last commit: a token that was written into config.yaml or the inventory here comes into no package.
deb: manual
	$(SUDO) rm -rf build/tree && mkdir -p build/tree
	git -c safe.directory='*' archive HEAD -- $(PARTS) | tar --extract --directory=build/tree
	dpkg -s $(PACKAGE_TOOLS) >/dev/null 2>&1 || \
		{ $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
		  apt-get install -y -qq --no-install-recommends $(PACKAGE_TOOLS); }
	mkdir build/tree/build && cp -r build/manual build/tree/build/
	$(VENV)/bin/python -m package.vendor build/tree build/tree/build/vendor $(ARCH) $(DEB_PYTHONS)
	cd build/tree && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps --host-arch=$(ARCH)
	rm build/sockbpf_*.buildinfo build/sockbpf_*.changes
	ls -l build/sockbpf_*.deb

# A virtual environment of its own, which needs no checkout any more.
install: setup user tree manual
	$(PINNED) $(VENV)/bin/pip wheel -q --disable-pip-version-check -w build/wheel './build/tree[otlp,top]'
	$(SUDO) $(PYTHON) -m venv --system-site-packages $(PLACE)
	for how in --upgrade '--no-deps --force-reinstall'; do $(SUDO) $(PLACE)/bin/pip install -q $$how \
		--disable-pip-version-check --no-index --find-links=build/wheel 'sockbpf[otlp,top]' || exit; done
	$(SUDO) ln -sf $(PLACE)/bin/sockbpf $(PLACE)/bin/check_sockbpf $(PREFIX)/bin/
	for page in build/manual/*.[58]; do \
		$(SUDO) install -D -m 644 -t $(PREFIX)/share/man/man$${page##*.} $$page; done
	for name in sockbpf check_sockbpf; do \
		$(SUDO) install -D -m 644 build/manual/$$name.bash $(PREFIX)/share/bash-completion/completions/$$name; \
		$(SUDO) install -D -m 644 build/manual/$$name.zsh $(PREFIX)/share/zsh/site-functions/_$$name; \
		$(SUDO) install -D -m 644 build/manual/$$name.fish $(PREFIX)/share/fish/vendor_completions.d/$$name.fish; done

# Settings, what is owed and what the store keeps stay: they are not the program's.
uninstall:
	[ ! -e $(UNIT) ] || { $(SUDO) systemctl disable -q --now sockbpf; $(SUDO) rm $(UNIT); $(SUDO) systemctl daemon-reload; }
	$(SUDO) rm -rf $(PLACE)
	for name in sockbpf check_sockbpf; do $(SUDO) rm -f $(PREFIX)/bin/$$name $(PREFIX)/share/man/man8/$$name.8 \
		$(PREFIX)/share/bash-completion/completions/$$name $(PREFIX)/share/zsh/site-functions/_$$name \
		$(PREFIX)/share/fish/vendor_completions.d/$$name.fish; done
	$(SUDO) rm -f $(PREFIX)/share/man/man5/sockbpf.yaml.5
	@echo 'left as they are: /etc/sockbpf, /var/lib/sockbpf, /var/lib/sockbpf-store, /var/log/sockbpf, the user sockbpf-store'

# Who the store is, and nobody else: no other service shares it, nobody logs in as it.
user:
	@getent passwd sockbpf-store >/dev/null || $(SUDO) useradd --system --user-group --no-create-home \
		--home-dir /nonexistent --shell /usr/sbin/nologin --comment "sockbpf's store" sockbpf-store
	@$(SUDO) install -d -m 700 -o sockbpf-store -g sockbpf-store /var/lib/sockbpf-store

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

demo: setup
	$(SUDO) $(VENV)/bin/sockbpf demo

self-test: setup
	$(SUDO) $(VENV)/bin/sockbpf check -c $(CONFIG)

format: $(VENV)/.ready-for-tests
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(C)

# What stops a commit first: formatting, lint, types.
lint: lint-python lint-c lint-shell lint-page

lint-python: $(VENV)/.ready-for-tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

lint-c: $(VENV)/.ready-for-tests
	$(VENV)/bin/clang-format --dry-run --Werror $(C)

lint-shell: $(VENV)/.ready-for-tests
	shellcheck $(SHELL_SCRIPTS)

# ESLint comes by npm. Where that is not, or reaches no registry, the rest must still be checked.
lint-page:
	@if $(MAKE) -s node_modules/.ready; then node_modules/.bin/eslint .; \
	else echo 'left out: lint of the page, which needs npm and its registry'; fi

node_modules/.ready: package.json package-lock.json
	@npm ci --no-audit --no-fund --loglevel=error --fetch-retries=1 --fetch-timeout=30000
	@touch $@

# What docs/request.md and docs/store.md say of the alert's fields, from their table; the screens in docs/top.md.
fields: $(VENV)/.ready-for-tests
	$(VENV)/bin/python -m tests.unit.field_docs
	$(VENV)/bin/python -m tests.unit.metric_docs
	$(VENV)/bin/python -m tests.unit.top_screens

unit: $(VENV)/.ready-for-tests unit-page
	$(VENV)/bin/pytest -n auto --dist worksteal -p no:schemathesis tests/unit

unit-page: $(VENV)/.ready-for-tests
	@if node -e 'process.exit(Number(parseInt(process.versions.node) < 18))'; then node --test tests/page/*.test.js; \
	else echo 'left out: tests of the page, which need Node 18'; fi

check: lint unit

fast: check

# The rest is run by processes of their own, as tests/live and tests/store start them: see the floor in pyproject.toml.
coverage: $(VENV)/.ready-for-tests
	mkdir -p .cache/coverage
	$(SUDO) $(VENV)/bin/coverage run -m pytest -q tests/unit tests/abi
	$(SUDO) $(VENV)/bin/coverage report

# By each Python of PYTHONS that the machine has, on the PATH or by pyenv; BCC is for the distribution's alone.
pythons: $(PYTHONS:%=python-%)

python-%: $(CONSTRAINTS)
	@for python in python$* ~/.pyenv/versions/$*.*/bin/python none; do $$python -c '' 2>/dev/null && break; done; \
	if [ $$python = none ]; then echo 'left out: Python $*, which is not on this machine'; exit; fi; \
	$$python -m venv .cache/python-$* && $(MAKE) -s VENV=.cache/python-$* unit-alone

unit-alone:
	$(PIP) -e '.[dev]'
	$(VENV)/bin/python -VV
	$(VENV)/bin/python -m pytest -q -n auto --dist worksteal -p no:schemathesis -p no:cacheprovider tests/unit

constraints:
	$(PYTHON) -m venv .cache/uv
	.cache/uv/bin/pip install -q --disable-pip-version-check uv
	echo 'setuptools>=77' | .cache/uv/bin/uv pip compile -q --upgrade --universal --python-version 3.10 --all-extras \
		--no-annotate --custom-compile-command 'make constraints' -o constraints.txt pyproject.toml -
	$(MAKE) package/requirements.txt

# What a package brings along of Python, of these versions, each with its hashes.
package/requirements.txt: constraints.txt pyproject.toml
	[ -x .cache/uv/bin/uv ] || { $(PYTHON) -m venv .cache/uv && .cache/uv/bin/pip install -q uv; }
	.cache/uv/bin/uv pip compile -q --universal --python-version 3.11 --extra otlp --extra top --constraints constraints.txt \
		--generate-hashes --no-annotate --custom-compile-command 'make constraints' -o $@ pyproject.toml

# Stock kernels under emulation: all, or one by its name, as in `make vm KERNEL=6.1`.
vm: $(VENV)/.ready-for-tests
	$(SUDO) $(VENV)/bin/pytest tests/vm $(if $(KERNEL),--every-choice -k 'claims_hold and [$(KERNEL)-')

# On a quiet machine; some of it by `make bench FIGURES=delivery`.
bench: $(VENV)/.ready-for-tests
	$(SUDO) $(VENV)/bin/python -m bench $(FIGURES)

# Only that everything runs and nothing is missed; the times mean nothing.
bench-quick: $(VENV)/.ready-for-tests
	$(SUDO) $(VENV)/bin/python -m bench --quick $(FIGURES)

test: lint unit-page
	$(SUDO) $(VENV)/bin/pytest $(PYTEST_ARGS)

clean:
	rm -rf $(VENV) node_modules build
