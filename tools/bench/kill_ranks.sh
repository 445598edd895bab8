#!/usr/bin/env bash
# Kills or stops a rank of a training run at random moments, many times: is the checkpoint whole, does the resumed run
# end with the bytes of one that nobody disturbed, how soon does the run end, and what does it say?
#   tools/bench/kill_ranks.sh PROGRAM MODEL.onnx [KILLS=100] [STOPS=30]
set -euo pipefail
program=$(realpath "$1") model=$(realpath "$2") kills=${3:-100} stops=${4:-30}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
launch=(mpirun -n 2 --oversubscribe --bind-to none --mca btl "^tcp" "$program")
# A few hundred ids below 250, as uint16.
for ((k = 0; k < 2000; k++)); do printf "\\x$(printf %x $(((k * k * 7 + k) % 250)))\\x00"; done >tokens.bin
training=(train "$model" --devices 2 --threads-per-device 1 --data tokens.bin --quiet)
begin=("${training[@]}" --batch 4 --sequence 16 --epochs 1000 --max-steps 60 --save-every 1)

"$program" "${begin[@]}" --save reference >/dev/null
whole=0 early=0 late=0 torn=0 differ=0 most_ms=0 silent=0
disturb() { # SIGNAL
  rm -rf run && mkdir -p none
  "${launch[@]}" "${begin[@]}" --save run --timeout 2 >/dev/null 2>error.txt &
  local launcher=$!
  # Between its start and what is about its end.
  sleep "$(awk -v r=$RANDOM 'BEGIN { printf "%.3f", 0.2 + 2.0 * r / 32768 }')"
  local ranks victim began
  ranks=($(pgrep -P "$launcher" || true))
  if [ "${#ranks[@]}" -lt 2 ]; then
    wait "$launcher" && late=$((late + 1))
    return 0
  fi
  victim=${ranks[$((RANDOM % 2))]}
  began=$(date +%s%N)
  kill "-$1" "$victim" 2>/dev/null || true
  # One that is stopped when all is done, in MPI's end, has nobody to miss it but the launcher, which waits.
  (sleep 15 && kill -CONT "$victim") 2>/dev/null &
  local waker=$!
  local code=0 ms
  wait "$launcher" || code=$?
  kill "$waker" 2>/dev/null || true
  ms=$((($(date +%s%N) - began) / 1000000))
  if [ "$code" -eq 0 ]; then late=$((late + 1)); else [ "$ms" -le "$most_ms" ] || most_ms=$ms; fi
  if [ "$1" = STOP ] && [ "$code" -ne 0 ] && ! grep -q "opt-partition: .*process [01] on \|rank [01] did not come\|not taken what\|have come to MPI's start" error.txt; then
    silent=$((silent + 1))
    cat error.txt
  fi
  if [ ! -d run ]; then
    early=$((early + 1))
    return 0
  fi
  if ! "$program" "${training[@]}" --resume run --max-steps 60 >/dev/null 2>resume.txt && ! grep -q "nothing is left" resume.txt; then
    torn=$((torn + 1))
    cat resume.txt
    return 0
  fi
  whole=$((whole + 1))
  diff -rq reference run >/dev/null || differ=$((differ + 1))
}
for signal in KILL STOP; do
  whole=0 early=0 late=0 torn=0 differ=0 most_ms=0 silent=0
  [ "$signal" = KILL ] && times=$kills || times=$stops
  for ((n = 0; n < times; n++)); do disturb "$signal"; done
  echo "SIG$signal, $times times: $whole resumed to the end ($differ with other bytes), $torn torn checkpoints, $early before the first checkpoint, $late after the end; the run ended at most $most_ms ms after it, $silent without a line that names a rank"
done
