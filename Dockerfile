FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
# For the commands that talk to a server over TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/entitled /usr/local/bin/entitled
# A number, so that an orchestrator can tell that it is not root.
RUN groupadd --gid 10001 entitled \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin entitled \
    && install -d -m 0700 -o entitled -g entitled /data
USER 10001:10001
ENV ENTITLED_DATA=/data \
    ENTITLED_LISTEN=0.0.0.0:8080
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# Asks with the binary itself: the image has no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["entitled", "health", "--url", "http://127.0.0.1:8080"]
ENTRYPOINT ["entitled"]
CMD ["serve"]
