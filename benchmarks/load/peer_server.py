"""The peers as a competent user would serve them: FastAPI, bf16, PyTorch's own attention, OpenAI's shape of answers.

    python peer_server.py MODEL --engine transformers --batching none --port 8001

batching none: every request is computed by itself in the thread pool, as many at a time as there are cores, a thread
each. dynamic: what comes within 5 ms, 32 texts at most, is computed together on all threads. sentence-transformers
sorts the texts of a call by length itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from pydantic import BaseModel

MAX_LENGTH = 256
"""As the checkpoint's sentence-transformers files say; bertsmith reads it there."""
MAX_BATCH, WAIT_SECONDS = 32, 0.005
Embed = Callable[[Sequence[str]], Any]


class Body(BaseModel):
    input: str


def transformers_engine(model: str) -> Embed:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModel.from_pretrained(model, dtype=torch.bfloat16, attn_implementation="sdpa").eval()

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> Any:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        states = network(**batch)[0].float()
        mask = batch["attention_mask"][..., None]
        vectors = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(vectors, dim=-1).numpy()

    return embed


def sentence_engine(model: str) -> Embed:
    from sentence_transformers import SentenceTransformer

    network = SentenceTransformer(model, device="cpu", model_kwargs={"dtype": torch.bfloat16})

    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> Any:
        vectors = network.encode(list(texts), batch_size=MAX_BATCH, convert_to_tensor=True, show_progress_bar=False)
        return vectors.float().numpy()

    return embed


ENGINES = {"transformers": transformers_engine, "sentence-transformers": sentence_engine}


class Batcher:
    """Gathers texts for a few milliseconds and embeds them in one thread."""

    def __init__(self, embed: Embed):
        self.embed = embed
        self.queue: asyncio.Queue[tuple[str, asyncio.Future[Any]]] = asyncio.Queue()
        self.thread = ThreadPoolExecutor(1)

    async def ask(self, text: str) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self.queue.put((text, future))
        return await future

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self.queue.get()]
            until = loop.time() + WAIT_SECONDS
            while len(batch) < MAX_BATCH and (left := until - loop.time()) > 0:
                try:
                    batch.append(await asyncio.wait_for(self.queue.get(), left))
                except TimeoutError:
                    break
            vectors = await loop.run_in_executor(self.thread, self.embed, [text for text, _ in batch])
            for (_, future), vector in zip(batch, vectors, strict=True):
                if not future.cancelled():
                    future.set_result(vector)


def build(embed: Embed, batching: str) -> Any:
    import anyio.to_thread
    from fastapi import FastAPI

    batcher = Batcher(embed)

    @asynccontextmanager
    async def lifespan(_: Any) -> Any:
        anyio.to_thread.current_default_thread_limiter().total_tokens = os.cpu_count() or 1
        task = asyncio.create_task(batcher.run())
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    def answer(vector: Any) -> dict[str, Any]:
        data = [{"object": "embedding", "index": 0, "embedding": vector.tolist()}]
        return {"object": "list", "data": data, "model": "peer"}

    if batching == "none":

        @app.post("/v1/embeddings")
        def embeddings(body: Body) -> dict[str, Any]:
            return answer(embed([body.input])[0])

    else:

        @app.post("/v1/embeddings")
        async def embeddings_together(body: Body) -> dict[str, Any]:
            return answer(await batcher.ask(body.input))

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--batching", choices=("none", "dynamic"), required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    if arguments.batching == "none":
        torch.set_num_threads(1)
    app = build(ENGINES[arguments.engine](arguments.model), arguments.batching)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
