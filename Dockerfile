# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# sockbpf as an image; docs/container.md has the line that runs it.

# A build that is to be the same tomorrow names the base by its digest: --build-arg BASE=debian:12-slim@sha256:…
# Another release of Debian has another BCC, which the constraints know nothing of.
ARG BASE=debian:12-slim

FROM ${BASE} AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
# The interpreter that BCC is built for; BCC itself comes from the system of the image below.
RUN python3 -m venv --system-site-packages /opt/sockbpf
COPY pyproject.toml constraints.txt package/requirements.txt README.md LICENSE /src/
COPY LICENSES /src/LICENSES
COPY bpf /src/bpf
COPY sockbpf /src/sockbpf
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# What it needs, by hash; then itself, by both variables, since each pip knows one of the two for what a build needs.
RUN /opt/sockbpf/bin/pip install -q --require-hashes --only-binary=:all: -r /src/requirements.txt \
    && PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt \
    /opt/sockbpf/bin/pip install -q --no-deps /src \
    && /opt/sockbpf/bin/pip uninstall -q -y pip setuptools

FROM ${BASE}
LABEL org.opencontainers.image.title="sockbpf" \
    org.opencontainers.image.description="Alerts when a TCP or UDP socket queue stands over its threshold" \
    org.opencontainers.image.licenses="GPL-2.0-only OR Apache-2.0" \
    org.opencontainers.image.base.name="docker.io/library/debian:12-slim"
# The store's user has a number of its own choice, since Kubernetes knows no names; a new volume gets its folder's owner.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-bpfcc \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 970 sockbpf-store \
    && useradd --system --uid 970 --gid 970 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sockbpf-store \
    && install -d -m 700 -o sockbpf-store -g sockbpf-store /var/lib/sockbpf-store
COPY --from=build /opt/sockbpf /opt/sockbpf
COPY config.yaml /etc/sockbpf/config.yaml
# It fails where the monitor hangs, is stopped or has ended; at a start, which may take a minute, twice is no matter.
HEALTHCHECK --interval=30s --timeout=10s --retries=3 CMD ["/opt/sockbpf/bin/sockbpf", "status", "--json"]
ENTRYPOINT ["/opt/sockbpf/bin/sockbpf"]
CMD ["-c", "/etc/sockbpf/config.yaml"]
