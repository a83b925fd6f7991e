# Configuration, entry table, batches and the values that rules look up. No rule stands here.
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SOURCE = Path(workflow.basedir) / "src"
sys.path.insert(0, str(SOURCE))

from cryoclarity.errors import CryoClarityError
from cryoclarity.workflow import plan
from cryoclarity.workflow.environment import export_interpreter

export_interpreter(SOURCE)
try:
    PLAN = plan.make_plan(config, Path(workflow.basedir))
except CryoClarityError as error:
    raise WorkflowError(str(error)) from None
if workflow.is_main_process:
    PLAN.save_batches()

BATCHES = list(PLAN.batches)
CODE = PLAN.code
SPEC = PLAN.spec
DATASETS = plan.DATASETS


wildcard_constraints:
    batch=r"\d{4,5}",
    dataset="|".join(re.escape(name) for name in plan.DATASETS),
    task="enhance|resolution",


# Apple silicon: the plain build of torch holds its device, and no scheduler counts it.
GPUS = 0 if PLAN.config["device"] in ("cpu", "mps") else 1
TORCH_ENV = "../envs/torch-gpu.yaml" if GPUS else "../envs/torch-cpu.yaml"
# Labels need torch only where they are computed on a device.
LABEL_GPUS = 0 if PLAN.config["labels"]["device"] == "cpu" else 1
LABEL_ENV = "../envs/torch-gpu.yaml" if LABEL_GPUS else "../envs/core.yaml"
