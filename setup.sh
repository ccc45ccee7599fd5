#!/bin/sh
# Runs a task of deno.json on a machine that may have nothing yet: finds Deno and a WebGPU adapter, or installs them.
#
#   sh setup.sh bench --quick        sh setup.sh test        sh setup.sh TASK [ARGUMENTS]
#
# Deno goes into .deno/ of this folder. A missing Vulkan driver is installed where apt-get can be used without a
# password; elsewhere the command to run is printed. Exit codes are the task's own, or 2 where something is missing.
set -eu

deno_version=2.9.6 # installed where no Deno is new enough
oldest_major=2
oldest_minor=9

root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
  say "$@"
  exit 2
}

# Whether $1 is a Deno that can run this project. Sets $found to its version.
is_usable() {
  [ -f "$1" ] && [ -x "$1" ] || return 1
  found=$("$1" -V 2>/dev/null </dev/null) || return 1
  found=${found#deno }
  major=${found%%.*}
  minor=${found#*.}
  minor=${minor%%.*}
  case $major.$minor in *[!0-9.]*) return 1 ;; esac
  [ "$major" -gt "$oldest_major" ] || { [ "$major" -eq "$oldest_major" ] && [ "$minor" -ge "$oldest_minor" ]; }
}

# Sets $deno to the first usable Deno. npm packages hold it in one of two places, by whether install scripts may run.
find_deno() {
  for deno in "$(command -v deno || true)" "${DENO_INSTALL:-${HOME:-}/.deno}/bin/deno" "${HOME:-}/.deno/bin/deno" \
    "$root/.deno/bin/deno" "$root/.deno/node_modules/deno/deno" "$root"/.deno/node_modules/@deno/*/deno; do
    is_usable "$deno" && return 0
  done
  return 1
}

install_deno() {
  say "no Deno $oldest_major.$oldest_minor or newer found: installing Deno $deno_version into $root/.deno (about 100 MB)"
  mkdir -p "$root/.deno"
  if command -v npm >/dev/null 2>&1; then
    npm install --prefix "$root/.deno" --no-save --no-package-lock --no-audit --no-fund --include=optional \
      --loglevel=error --update-notifier=false "deno@$deno_version" </dev/null >&2 || say "npm could not install it"
    chmod +x "$root"/.deno/node_modules/@deno/*/deno 2>/dev/null || true
    find_deno && return 0
  fi
  if command -v curl >/dev/null 2>&1; then
    say "using Deno's own installer"
    # CI: without it the installer offers to edit the shell's start-up files.
    curl -fsSL https://deno.land/install.sh </dev/null |
      CI=true DENO_INSTALL="$root/.deno" sh -s "v$deno_version" >&2 || say "Deno's installer failed"
    find_deno && return 0
  fi
  fail "cannot install Deno: install version $oldest_major.$oldest_minor or newer by hand (https://docs.deno.com), then run this again"
}

# Downloads npm packages that deno.lock names and this machine does not have yet; to be run in the background. Deno looks up
# the registry's address for each of the hundreds at once; where some of these questions get lost, glibc waits five seconds
# before it asks again.
install_packages() {
  "$deno" install --quiet --frozen --cached-only --config "$root/deno.json" </dev/null >/dev/null 2>&1 && return 0
  say "downloading the npm packages that deno.lock names (once)"
  quiet=--quiet # without a terminal there is no progress bar but a line for each of several hundred files
  if [ -t 2 ]; then quiet=; fi
  RES_OPTIONS="${RES_OPTIONS:-timeout:1 attempts:5}" \
    "$deno" install $quiet --frozen --config "$root/deno.json" </dev/null >&2 &
  download=$!
  trap 'kill "$download" 2>/dev/null; exit 143' TERM
  wait "$download" || fail "the packages could not be downloaded"
}

# Whether the interfaces $1 give an adapter of which $2 is true.
finds_adapter() {
  DENO_WEBGPU_BACKEND=$1 "$deno" eval --no-config --no-lock --unstable-webgpu \
    "const adapter = await navigator.gpu?.requestAdapter(); Deno.exit(adapter && ($2) ? 0 : 3)" </dev/null >/dev/null 2>&1
}

# A GPU by OpenGL will do; Mesa's software adapter by OpenGL trains many times slower than by Vulkan.
has_adapter() {
  finds_adapter "${DENO_WEBGPU_BACKEND:-vulkan,metal,dx12}" true || finds_adapter gl '!adapter.info.isFallbackAdapter'
}

# Runs a command as root where that needs no password.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_driver() {
  command="apt-get install mesa-vulkan-drivers"
  say "no WebGPU adapter found that is more than OpenGL on the CPU: Deno needs a Vulkan driver"
  if [ -e /dev/nvidiactl ]; then
    say "this machine has an NVIDIA GPU, but its Vulkan driver is not visible here: install NVIDIA's driver with" \
      "Vulkan (Debian: nvidia-vulkan-icd; containers: NVIDIA_DRIVER_CAPABILITIES=all) to measure the GPU"
  fi
  if ! command -v apt-get >/dev/null 2>&1; then
    without_driver "install the driver of your GPU, or Mesa's software driver (the package is called mesa-vulkan-drivers on" \
      "Debian, Ubuntu and Fedora, vulkan-swrast on Arch), then run this again"
    return
  fi
  if ! as_root true 2>/dev/null; then
    without_driver "run this, then try again:  sudo $command"
    return
  fi
  say "installing Mesa's drivers, which also run on the CPU:  $command"
  driver_log=$(mktemp)
  if ! try_apt && ! { as_root apt-get update </dev/null >"$driver_log" 2>&1 && try_apt; }; then
    cat "$driver_log" >&2
    rm -f "$driver_log"
    without_driver "the driver could not be installed; run this, then try again:  sudo $command"
    return
  fi
  rm -f "$driver_log"
  has_adapter || without_driver "still no Vulkan adapter: \`deno task doctor\` and \`vulkaninfo --summary\` (package vulkan-tools) say more"
}

# Goes on with OpenGL where it gives an adapter, and ends where nothing does.
without_driver() {
  finds_adapter gl true || fail "$@"
  say "$@"
  say "going on with OpenGL, which trains many times slower"
}

try_apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mesa-vulkan-drivers \
    </dev/null >"$driver_log" 2>&1
}

# Whether the task in "$@" runs anything on an adapter.
needs_adapter() {
  case $1 in
    bench | train | eval | generate | test | test:device | test:browser | test:long | bench:kernels) ;;
    *) return 1 ;;
  esac
  for argument in "$@"; do
    case $argument in --dry-run | --help | -h) return 1 ;; esac
  done
}

[ $# -gt 0 ] || fail "say what to run: sh setup.sh bench | test | train | eval | generate | plan | report | compare | doctor | validate"
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
  # Drivers complain on every start without one.
  runtime=$root/.cache/runtime
  if mkdir -p "$runtime" 2>/dev/null && chmod 700 "$runtime" 2>/dev/null; then
    XDG_RUNTIME_DIR=$runtime
    export XDG_RUNTIME_DIR
  fi
fi
find_deno || install_deno

# Packages come while the driver does. A job in the background does not hear ctrl-C.
install_packages &
packages=$!
trap 'kill "$packages" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if needs_adapter "$@" && ! has_adapter; then install_driver; fi
wait "$packages" || exit 2
trap - EXIT INT TERM

# Programs that tasks start find the same Deno.
PATH=$(dirname -- "$deno"):$PATH
DENO_NO_UPDATE_CHECK=1
export PATH DENO_NO_UPDATE_CHECK
exec "$deno" task --config "$root/deno.json" "$@"
