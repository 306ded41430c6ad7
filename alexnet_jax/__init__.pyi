from alexnet_jax.config import default_config as default_config
from alexnet_jax.inspection.tables import summarize as summarize
from alexnet_jax.models import Classifier as Classifier
from alexnet_jax.models import create_model as create_model
from alexnet_jax.models import list_models as list_models
from alexnet_jax.train import train_and_evaluate as train_and_evaluate
from alexnet_jax.trained import load as load

__version__: str
