#!/bin/bash
# Train a recipe under Slurm, one rank a GPU, and go on in the next job where this one must end:
#
#     sbatch docs/examples/slurm.sh anytime-150m --run runs/a150 --until 2x
#
# What stands after the script's name goes to `riverrun train`. The folder of the run, and the corpus, must lie on a file
# system that all nodes share, as must the folder that sbatch is called from. Three minutes before the time is over, Slurm
# sends USR1: riverrun finishes the update, saves a checkpoint and exits with 138, and the job is put into the queue again.

#SBATCH --job-name=riverrun
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=riverrun-%j.log

set -u

RIVERRUN=${RIVERRUN:-.venv/bin/riverrun}

# Where the ranks meet: the first node, on a port that other jobs of this node are unlikely to have.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT RIVERRUN

# A rank takes the GPU that its local rank names, so each must see them all: no binding. The ranks that are left when one
# dies notice within seconds and end by themselves, and --wait ends one that hangs; a --kill-on-bad-exit would send them
# TERM instead, which looks like a wish to go on later. A rank is a task, so its variables are set within it.
srun --gpu-bind=none --kill-on-bad-exit=0 --wait=120 bash -c '
    export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS
    export LOCAL_RANK=$SLURM_LOCALID LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE
    exec "$RIVERRUN" train "$@"
' riverrun "$@"
code=$?

echo "riverrun exited with $code"
case $code in
138 | 143) # USR1, or TERM, as at preemption: a checkpoint is saved, and the same command goes on from it
    scontrol requeue "$SLURM_JOB_ID"
    ;;
esac
exit "$code"
