# The serving image: Python, the locked serving dependencies with every client and format that the
# settings may choose, and slotcast. No TensorFlow, no compiler, no installer, no root. The Python is
# the one that the tests run on.
ARG PYTHON=python:3.11.15-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /src
COPY requirements/build.txt requirements/image.txt requirements/
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes \
        --requirement requirements/build.txt \
    && python -m venv --without-pip /opt/slotcast \
    && /build/bin/uv pip install --no-cache --only-binary :all: --require-hashes \
        --python /opt/slotcast --requirement requirements/image.txt

COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY service service
RUN /build/bin/hatchling build --target wheel --directory /wheel \
    && /build/bin/uv pip install --no-cache --no-deps --python /opt/slotcast /wheel/*.whl

# numba takes a cache entry for stale when its source's time differs, and an image that is pushed and
# pulled keeps whole seconds only.
RUN find /opt/slotcast -name '*.py' -exec touch --date=2020-01-01T00:00:00Z {} + \
    && /opt/slotcast/bin/python -m compileall -q /opt/slotcast/lib

FROM ${PYTHON}
LABEL org.opencontainers.image.title="slotcast" \
      org.opencontainers.image.description="Streaming forecasts: ticks in from Kafka, one forecast per tick out" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 slotcast \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin slotcast \
    && install --directory --owner=10001 --group=10001 /var/cache/slotcast
COPY --from=build /opt/slotcast /opt/slotcast
ENV PATH=/opt/slotcast/bin:$PATH \
    XDG_CACHE_HOME=/var/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001

# Compiled once here instead of at every start. On another kind of processor numba compiles again.
RUN ["slotcast", "warm"]

EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/v2/health/live', timeout=2)"]
ENTRYPOINT ["slotcast"]
CMD ["serve"]
