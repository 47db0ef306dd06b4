#!/usr/bin/env bash
# Written by make study STUDY=@study@ ON=slurm. To submit it: sbatch @file@
# A node needs git, make, Python, an index of packages or ARCMIX_VENV, the right to push to
# @repository@, and DVC's remote.
# ARCMIX_VENV is an environment that make setup made and that the nodes can read.
# ARCMIX_SCRATCH is a folder for the clones; the default is that for temporary files.
#SBATCH --job-name=arcmix-@study@
#SBATCH --array=0-@last@
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=@cpus@
#SBATCH --mem=@memory@G
#SBATCH --time=@hours@:00:00
@options@
CELL=$SLURM_ARRAY_TASK_ID
@cell@
