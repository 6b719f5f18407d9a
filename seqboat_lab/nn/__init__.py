"""SeqBoat in pure PyTorch: `SeqBoat(ModelConfig(...))` works in anyone's own training loop."""

from seqboat_lab.nn.layer import LayerOutput, LayerState, SeqBoatLayer
from seqboat_lab.nn.models import Classifier, LanguageModel, ModelOutput, SeqBoat

__all__ = [
    "Classifier",
    "LanguageModel",
    "LayerOutput",
    "LayerState",
    "ModelOutput",
    "SeqBoat",
    "SeqBoatLayer",
]
