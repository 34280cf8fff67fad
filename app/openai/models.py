"""`/v1/models`: the model that replies, and the one that embeds."""

from fastapi import APIRouter

from app.api.dependencies import OwnerDep, ServiceDep
from app.openai.errors import no_such_model
from app.openai.schemas import EmbeddingModelView, ModelList, ModelView

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models")
async def list_models(service: ServiceDep, _owner: OwnerDep) -> ModelList:
    """The model that replies, then the one that embeds."""
    model = service.model.engine.model
    return ModelList(
        data=[
            ModelView(
                id=model.name,
                architecture=model.architecture,
                parameters=model.parameters,
                context_window=model.context_window,
                token_counts=model.token_counts,
                dtype=model.dtype,
                device=model.device,
                fingerprint=model.fingerprint,
                persona_share=model.preamble_share,
            ),
            EmbeddingModelView(id=service.chat.embedder.name),
        ]
    )


@router.get("/models/{name:path}")
async def get_model(name: str, service: ServiceDep, owner: OwnerDep) -> ModelView | EmbeddingModelView:
    """One of them by its name, which may have slashes in it."""
    for model in (await list_models(service, owner)).data:
        if model.id == name:
            return model
    raise no_such_model(name)
