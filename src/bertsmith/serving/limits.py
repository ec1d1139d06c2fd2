"""What a server takes, and what it does with more: settings, each with its unit."""

from __future__ import annotations

from pydantic import Field

from bertsmith.settings import Settings


class LimitSettings(Settings):
    """Of one request, and of all that wait."""

    max_body_bytes: int = Field(2_000_000, ge=1, description="longest body; a longer one gets 413")
    max_items: int = Field(1_024, ge=1, description="inputs in one request; more get 413")
    max_characters: int = Field(1_000_000, ge=1, description="of one text, before it is tokenized; more get 413")
    max_query_characters: int = Field(
        10_000, ge=1, description="of a query, a question to an index or a message to the assistant; more get 413"
    )
    max_depth: int = Field(
        16, ge=1, description="of lists and objects within one another in a body; deeper ones get 400"
    )
    max_tokens_per_request: int = Field(262_144, ge=1, description="of all inputs of a request; more get 413")
    max_explained_tokens: int = Field(
        1_024, ge=1, description="of a request that is explained, in all windows; more get 413"
    )
    max_queue_seconds: float = Field(
        1.0,
        gt=0,
        description="that waiting requests will take, at the model's pace; while it is more, new ones get 503",
    )
    requests_per_second: float | None = Field(
        None, gt=0, description="of each key, or of each address where there are no keys; more get 429; None: any"
    )
    deadline_seconds: float = Field(30.0, gt=0, description="a request that takes longer gets 504 and is given up")
    body_seconds: float = Field(20.0, gt=0, description="for a body to arrive; a slower one gets 408")
    max_connections: int = Field(2_000, ge=1, description="at a time; more get 503")


class BatchSettings(Settings):
    """How requests are put together."""

    num_batches: int | None = Field(
        None, ge=1, description="computed at a time, each by its share of the threads; None: 2, or 1 of one thread"
    )
    max_tokens_per_batch: int = Field(4_096, ge=1, description="of one forward pass, of as many requests as fit")
    wait_milliseconds: float = Field(
        0.0,
        ge=0,
        description="for more requests before an idle model begins; while it computes, requests gather anyway",
    )
