#!/usr/bin/env bash
# Train the paper's network on a slice of TPU VMs: a spot v5e-256 from a queued resource.
#
#   launch/tpu-vm.sh create              request the slice, and copy the committed code to the bucket
#   launch/tpu-vm.sh start [SETTINGS]    wait for the slice, install, start `alexnet-jax train` on all hosts
#   launch/tpu-vm.sh follow              print the log of the first host
#   launch/tpu-vm.sh stop                save and end the run; `start` resumes it
#   launch/tpu-vm.sh resume [SETTINGS]   after a preemption: delete the slice, request it again, start
#   launch/tpu-vm.sh delete              delete the slice; the workdir stays in the bucket
#
# With --print as the first word it prints the commands instead of running them. SETTINGS are flags of
# `train`, such as --config.num_epochs=10. On each host systemd runs the command. If it fails, systemd starts
# it again, up to 10 times a day, unless its status is 2 (refused) or 143 (saved after SIGTERM).
set -euo pipefail

# FILL IN the name of the bucket, without gs://. It holds runs/, code/ and the published caches/.
BUCKET="${BUCKET:-}"
# The rest may stay as it is. The project is that of `gcloud config`.
NAME="${NAME:-alexnet}"
ZONE="${ZONE:-us-central1-a}"
ACCELERATOR="${ACCELERATOR:-v5litepod-256}"
RUNTIME="${RUNTIME:-v2-alpha-tpuv5-lite}"

refuse() {
  echo "launch/tpu-vm.sh: $1" >&2
  exit 2
}

# Print a command, quoted for a shell.
quoted() {
  local word words=()
  for word; do
    if [[ $word =~ ^[a-zA-Z0-9_./:=@-]+$ ]]; then words+=("$word"); else words+=("${word@Q}"); fi
  done
  echo "${words[*]}"
}

# Run a command, or print it.
run() {
  if [[ $print ]]; then quoted "$@"; else "$@"; fi
}

on_hosts() {
  run gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker="$1" --command="$2"
}

create() {
  run git archive --format=tar.gz --output="${TMPDIR:-/tmp}/$NAME.tar.gz" HEAD
  run gcloud storage cp "${TMPDIR:-/tmp}/$NAME.tar.gz" "gs://$BUCKET/code/$NAME.tar.gz"
  run gcloud compute tpus queued-resources create "$NAME" --node-id="$NAME" --zone="$ZONE" --spot \
    --accelerator-type="$ACCELERATOR" --runtime-version="$RUNTIME"
}

# Wait until the slice is active. Fail if the request has failed or the slice was preempted.
wait_for_slice() {
  local describe=(gcloud compute tpus queued-resources describe "$NAME" --zone="$ZONE")
  describe+=("--format=value(state.state)")
  run "${describe[@]}"
  [[ $print ]] && return
  local state
  while state=$("${describe[@]}") && [[ $state != ACTIVE ]]; do
    case $state in
      FAILED | SUSPENDING | SUSPENDED | DELETING)
        echo "launch/tpu-vm.sh: the slice $NAME is $state: launch/tpu-vm.sh resume requests another" >&2
        exit 1
        ;;
    esac
    sleep 30
  done
  [[ $state == ACTIVE ]]
}

start() {
  local train
  train=$(quoted train --config=alexnet:bf16 --config.batch_size=4096 \
    --config.data.cache_from="gs://$BUCKET/caches" --workdir="gs://$BUCKET/runs/$NAME" "$@")
  wait_for_slice
  on_hosts all "set -eo pipefail; mkdir -p ~/alexnet-jax; cd ~/alexnet-jax;\
 gcloud storage cat gs://$BUCKET/code/$NAME.tar.gz | tar -xz; python3 -m pip install --quiet --user uv;\
 ~/.local/bin/uv venv --quiet --allow-existing --python 3.13;\
 ~/.local/bin/uv pip install --quiet --constraint requirements.txt \".[gcs,tpu]\""
  on_hosts all "sudo systemctl reset-failed alexnet 2>/dev/null;\
 sudo systemd-run --unit=alexnet --uid=\$(id -u) --setenv=JAX_PLATFORMS=tpu\
 --property=LimitMEMLOCK=infinity --property=TimeoutStopSec=120\
 --property=Restart=on-failure --property=RestartSec=10 --property=RestartPreventExitStatus=2\\ 143\
 --property=StartLimitIntervalSec=86400 --property=StartLimitBurst=10\
 ~/alexnet-jax/.venv/bin/alexnet-jax $train"
}

follow() {
  on_hosts 0 "journalctl --unit=alexnet --lines=100 --follow"
}

stop() {
  on_hosts all "sudo systemctl stop alexnet"
}

delete() {
  run gcloud compute tpus queued-resources delete "$NAME" --zone="$ZONE" --force --quiet
}

resume() {
  delete
  create
  start "$@"
}

print=""
if [[ ${1:-} == --print ]]; then
  print=1
  shift
fi
verb="${1:-}"
case $verb in
  start | resume) ;;
  create | follow | stop | delete) (($# == 1)) || refuse "$verb takes no arguments, but got $2" ;;
  *) refuse "the verb must be create, start, follow, stop, resume or delete, not '$verb'" ;;
esac
[[ $BUCKET ]] ||
  refuse "fill in BUCKET at the top of this file, or set it: BUCKET=NAME launch/tpu-vm.sh $verb"
[[ $BUCKET =~ ^[a-z0-9][a-z0-9._-]+[a-z0-9]$ ]] ||
  refuse "BUCKET must be the name of a bucket, without gs://, not '$BUCKET'"
[[ $NAME =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] ||
  refuse "NAME must have lower-case letters, digits and '-' only, not '$NAME'"
if [[ ! $print ]] && ! command -v gcloud >/dev/null; then
  refuse "there is no command gcloud: install the Google Cloud CLI, or show the commands with --print"
fi
cd "$(dirname "$0")/.."
"$@"
