"""ChatGPT's export, `conversations.json`: a list of conversations, each a tree of nodes, its `mapping`.

What is no text that was said (tools, hidden messages, images) is left out and counted; what stood behind it
then stands behind the message before it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from app.transfer.archive import Archive, TransferError
from app.transfer.drafting import ChatDraft, name_of, time_of
from app.transfer.files import Value
from memory.messages import Role

FORMAT = "chatgpt"
ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}


def recognise(values: Sequence[Value]) -> bool:
    first = values[0].value
    if isinstance(first, list):
        first = first[0] if first else None
    return isinstance(first, dict) and "mapping" in first


def read(values: Sequence[Value]) -> Archive:
    """Raises TransferError."""
    archive = Archive(FORMAT)
    for value in values:
        if isinstance(value.value, list):
            conversations = [Value(value.at(number), each) for number, each in enumerate(value.value)]
        else:
            conversations = [value]
        for conversation in conversations:
            _read_conversation(archive, conversation)
    return archive


def _read_conversation(archive: Archive, conversation: Value) -> None:
    fields = conversation.value
    if not isinstance(fields, dict):
        raise TransferError("must be an object", conversation.at())
    nodes = _nodes(conversation)
    children = _children(conversation, nodes)
    current = fields.get("current_node")
    if current is not None and (not isinstance(current, str) or current not in nodes):
        raise TransferError("names no node of the mapping", conversation.at("current_node"))
    order = list(_in_order(children))
    if len(order) < len(nodes):
        turning = _in_circle(nodes, min(nodes.keys() - set(order)))
        raise TransferError("its parents form a circle", conversation.at("mapping", turning))
    active = _path_to(nodes, current or _newest_leaf(children))
    draft = ChatDraft(
        archive,
        conversation.at(),
        source_id=name_of(fields.get("conversation_id") or fields.get("id")),
        title=name_of(fields.get("title")),
        created_at=time_of(fields.get("create_time")),
        updated_at=time_of(fields.get("update_time")),
    )
    behind: dict[str | None, str | None] = {None: None}
    for node in order:
        parent = behind[nodes[node].get("parent")]
        message = Value(conversation.at("mapping", node, "message"), nodes[node].get("message"))
        said = _said(archive, message)
        if said is None:
            behind[node] = parent
            continue
        role, text = said
        behind[node] = draft.add(
            role,
            text,
            message.at("content"),
            behind=parent,
            is_active=node in active,
            created_at=time_of(message.value.get("create_time")),
            model=name_of(_object(message.value, "metadata").get("model_slug")),
        ).id


def _nodes(conversation: Value) -> dict[str, dict[str, Any]]:
    nodes = conversation.value.get("mapping")
    if not isinstance(nodes, dict):
        raise TransferError("must be an object", conversation.at("mapping"))
    for name, node in nodes.items():
        place = Value(conversation.at("mapping", name), node)
        if not isinstance(node, dict):
            raise TransferError("must be an object", place.at())
        parent = node.get("parent")
        if parent is not None and (not isinstance(parent, str) or parent not in nodes):
            raise TransferError("names no node of the mapping", place.at("parent"))
        if not isinstance(node.get("children", []), list):
            raise TransferError("must be a list", place.at("children"))
    return nodes


def _children(conversation: Value, nodes: dict[str, dict[str, Any]]) -> dict[str | None, list[str]]:
    """The nodes behind each node, by what they call their parent, in the order in which it lists them."""
    children: dict[str | None, list[str]] = {None: []}
    for name, node in nodes.items():
        children.setdefault(node.get("parent"), []).append(name)
    for parent, names in children.items():
        if parent is not None:
            listed = {
                child: at
                for at, child in enumerate(nodes[parent].get("children", []))
                if isinstance(child, str)
            }
            if len(listed) != len(nodes[parent].get("children", [])):
                raise TransferError(
                    "must name each child once", conversation.at("mapping", parent, "children")
                )
            names.sort(key=lambda name: listed.get(name, len(listed)))
    return children


def _in_order(children: dict[str | None, list[str]]) -> Iterator[str]:
    """The nodes that can be reached, each behind its parent and its elder siblings."""
    level = children[None]
    while level:
        yield from level
        level = [child for node in level for child in children.get(node, ())]


def _in_circle(nodes: dict[str, dict[str, Any]], node: str) -> str:
    """The first node of the circle that the parents of `node` lead into."""
    seen: set[str] = set()
    while node not in seen:
        seen.add(node)
        node = nodes[node]["parent"]
    return node


def _newest_leaf(children: dict[str | None, list[str]]) -> str | None:
    node: str | None = None
    while behind := children.get(node):
        node = behind[-1]
    return node


def _path_to(nodes: dict[str, dict[str, Any]], node: str | None) -> set[str]:
    path: set[str] = set()
    while node is not None:
        path.add(node)
        node = nodes[node].get("parent")
    return path


def _said(archive: Archive, message: Value) -> tuple[Role, str] | None:
    """Role and text of a node's message; None if it has none that was said."""
    fields = message.value
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise TransferError("must be an object", message.at())
    role = _object(fields, "author").get("role")
    if not isinstance(role, str) or role not in (*ROLES, "tool"):
        raise TransferError(f"must be tool or one of {', '.join(ROLES)}", message.at("author", "role"))
    text = "" if role == "tool" else _text(archive, message)
    if text is None:
        return None
    if role == "tool":
        reason = "a message of role tool"
    elif _object(fields, "metadata").get("is_visually_hidden_from_conversation"):
        reason = f"a hidden message of role {role}"
    elif fields.get("recipient") not in (None, "all"):
        reason = "a message to a tool"
    elif not text.strip():
        reason = "a message without text"
    else:
        return ROLES[role], text
    if text.strip() or role != "system":  # they begin every conversation with an empty one
        archive.left_out[reason] += 1
    return None


def _text(archive: Archive, message: Value) -> str | None:
    content = message.value.get("content")
    if not isinstance(content, dict):
        raise TransferError("must be an object", message.at("content"))
    kind = content.get("content_type")
    if kind not in ("text", "multimodal_text"):
        archive.left_out[f"a message of type {str(kind)[:64]}"] += 1
        return None
    parts = content.get("parts", [])
    if not isinstance(parts, list):
        raise TransferError("must be a list", message.at("content", "parts"))
    texts: list[str] = []
    for number, part in enumerate(parts):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            archive.left_out[f"a part of type {str(part.get('content_type'))[:64]}"] += 1
        else:
            raise TransferError("must be a text or an object", message.at("content", "parts", number))
    return "\n".join(texts)


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
