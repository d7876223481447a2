# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# sockbpf as an image; README.md has the line that runs it.

FROM debian:12-slim AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv
# The interpreter that BCC is built for; BCC itself comes from the system of the image below.
RUN python3 -m venv --system-site-packages /opt/sockbpf
COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY LICENSES /src/LICENSES
COPY bpf /src/bpf
COPY sockbpf /src/sockbpf
RUN PIP_CONSTRAINT=/src/constraints.txt /opt/sockbpf/bin/pip install -q --no-cache-dir --disable-pip-version-check /src

FROM debian:12-slim
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-bpfcc \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sockbpf-store
COPY --from=build /opt/sockbpf /opt/sockbpf
COPY config.yaml /etc/sockbpf/config.yaml
ENTRYPOINT ["/opt/sockbpf/bin/sockbpf"]
CMD ["-c", "/etc/sockbpf/config.yaml"]
