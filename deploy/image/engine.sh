#!/usr/bin/env bash
# Sees that a Docker engine and `docker compose` are here: for CI, and for a fresh machine with Debian. Says loudly what is
# not to be had, and why; it never fails for that.
#
#   deploy/image/engine.sh
#
# An engine that answers is left as it is. Packages come from where this machine's apt gets them.
set -uo pipefail
LOG=${ENGINE_LOG:-/var/log/gridparley-dockerd.log}
PLUGINS=${ENGINE_PLUGINS:-/usr/local/lib/docker/cli-plugins}
COMPOSE_SUITE=trixie # the first Debian release with the plugin
WAIT_S=${ENGINE_WAIT_S:-60}

loudly() { printf '\n!!!! %s\n!!!! %s\n\n' "$1" "$2" >&2; }
root() { [ "$(id -u)" = 0 ]; }
answers() { docker version >/dev/null 2>&1; }

packages() {
    root && command -v apt-get >/dev/null || return 1
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

engine() {
    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v iptables >/dev/null || missing+=(iptables)
    command -v debootstrap >/dev/null || missing+=(debootstrap) # for `make base`
    if answers; then
        [[ " ${missing[*]} " != *" debootstrap "* ]] || packages debootstrap || true
        return 0
    fi
    [ ${#missing[@]} = 0 ] || packages "${missing[@]}" || echo "engine: could not install ${missing[*]}" >&2
    if ! command -v dockerd >/dev/null; then
        loudly "No Docker engine, and docker.io could not be installed." \
            "Run this as root on Debian, or start an engine. Tests with containers do not run."
        return 1
    fi
    root || {
        loudly "A Docker engine is installed and does not run." "Start it as root: dockerd &"
        return 1
    }
    # ENGINE_OPTIONS: e.g. another --data-root. A session of its own: whoever stops us does not stop the engine.
    # shellcheck disable=SC2086
    setsid dockerd ${ENGINE_OPTIONS:-} >"$LOG" 2>&1 </dev/null &
    local pid=$!
    for _ in $(seq $((WAIT_S * 5))); do
        answers && return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    tail -n 15 "$LOG" >&2
    loudly "The Docker engine did not start, see above; its log is $LOG." \
        "Without the right to mount and to make networks (a container without --privileged) there is none."
    return 1
}

compose() {
    docker compose version >/dev/null 2>&1 && return 0
    packages docker-compose-plugin 2>/dev/null && docker compose version >/dev/null 2>&1 && return 0
    compose_from_next_release && docker compose version >/dev/null 2>&1 && return 0
    loudly "\`docker compose\` is not here and could not be had from Debian's packages." \
        "Install the plugin docker-compose into $PLUGINS. What needs compose does not run."
    return 1
}

# Debian bookworm has no plugin, the next release has. Its lists live in a folder of their own: apt's stay as they are.
compose_from_next_release() {
    root && command -v apt-get >/dev/null || return 1
    local folder site
    folder=$(mktemp -d) || return 1
    site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | awk '$2 !~ /security|updates|backports/ { print $1; exit }')
    [ -n "$site" ] || return 1
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/parts"
    echo "deb $site $COMPOSE_SUITE main" >"$folder/sources.list"
    chmod -R a+rX "$folder"
    local options=(-qq -o "Dir::Etc::SourceList=$folder/sources.list" -o "Dir::Etc::SourceParts=$folder/parts"
        -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
    (cd "$folder" && apt-get "${options[@]}" update && apt-get "${options[@]}" download docker-compose &&
        dpkg-deb -x docker-compose_*.deb files) >&2 &&
        install -D -m 755 "$(find "$folder/files" -type f -path '*/cli-plugins/docker-compose')" "$PLUGINS/docker-compose"
    local done=$?
    rm -rf "$folder"
    return "$done"
}

if engine; then
    compose || true
    printf 'engine: %s, %s\n' "$(docker version --format '{{.Server.Version}}')" \
        "$(docker compose version 2>/dev/null || echo 'no docker compose')"
fi
