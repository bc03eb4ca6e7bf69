#!/bin/bash
# Called by test/run.sh with WORK and PGXS_DIR set: the module is built and staged there.
#   BENCH=w1,w4     only these workloads          SCALE=0.1   fewer rows
#   RUNS=5          runs of each contender        MINUTES=5   length of w12
set -eu
exec perl -I "$(dirname "$0")" "$(dirname "$0")/bench.pl"
