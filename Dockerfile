# syntax=docker/dockerfile:1
# `auricle serve` in a container: without torch, without root, its files read-only. See docs/deploy.md.
#
#   docker build -t auricle .
#   docker run --rm -p 127.0.0.1:8765:8765 auricle --open

FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# What auricle needs comes before auricle: it changes less often.
COPY pyproject.toml constraints.txt ./
RUN python -m venv /opt/auricle \
    && python -c "import tomllib; about = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*about['dependencies'], *about['optional-dependencies']['serve'], sep='\n')" > requirements.txt \
    && /opt/auricle/bin/pip install -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY auricle auricle
RUN /opt/auricle/bin/pip install --no-deps . \
    && /opt/auricle/bin/pip uninstall --yes pip setuptools \
    && /opt/auricle/bin/auricle check default


FROM python:3.11-slim-bookworm

RUN groupadd --gid 10001 auricle \
    && useradd --no-log-init --uid 10001 --gid auricle --no-create-home --home-dir /tmp \
        --shell /usr/sbin/nologin auricle \
    && install --directory --owner auricle --group auricle --mode 700 /data
COPY --from=build /opt/auricle /opt/auricle
ENV PATH=/opt/auricle/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp

USER 10001:10001
VOLUME /data
EXPOSE 8765
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8765/healthz', timeout=5)"]

# Beyond loopback a token is wanted: --token-file /run/secrets/token, or --open where anybody may ask.
ENTRYPOINT ["auricle", "serve", "--host", "0.0.0.0", "--port", "8765", "--data", "/data"]
CMD []
