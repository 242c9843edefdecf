"""JSON of chat systems and of files that teach language models: who speaks, and what may be learned."""

import json
from collections import Counter

import pytest

from data.corpus import DocumentError
from data.formats.dialogue import Dialogue
from data.formats.reader import DialogueReader
from tests.formats import chat, lines, read, said, utterances
from training.lessons import of_log, read_logs

ASKED = [("user", "Which tea?"), ("assistant", "Green tea.")]
USER, ASSISTANT = {"role": "user", "content": "Which tea?"}, {"role": "assistant", "content": "Green tea."}


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "human", "content": "Which tea?"}, {"role": "ai", "content": "Green tea."}]},
        {"messages": [{"role": "User", "content": "Which tea?"}, {"role": "model", "content": "Green tea."}]},
        {"messages": [{"type": "human", "content": "Which tea?"}, {"type": "ai", "content": "Green tea."}]},
        {"messages": [{"type": "human", "data": {"content": "Which tea?"}}, {"type": "ai", "data": ASSISTANT}]},
        {"messages": [{"lc": 1, "type": "constructor", "kwargs": {"type": t, "content": c}} for t, c in
                      (("human", "Which tea?"), ("ai", "Green tea."))]},
        {"messages": [{"role": "end_user", "content": "Which tea?"}, {"role": "Live Agent", "content": "Green tea."}]},
        {"conversations": [{"from": "human", "value": "Which tea?"}, {"from": "gpt", "value": "Green tea."}]},
        {"conversations": [{"from": "system", "value": "Sell."}, {"from": "user", "value": "Which tea?"},
                           {"from": "chatgpt", "value": "Green tea."}]},
        {"conversation": [USER, ASSISTANT]},
        {"id": 1, "turns": [{"speaker": "USER", "utterance": "Which tea?"},
                            {"speaker": "SYSTEM", "utterance": "Green tea."}]},
        {"contents": [{"role": "user", "parts": [{"text": "Which tea?"}]},
                      {"role": "model", "parts": [{"text": "Green tea."}]}]},
        {"messages": [{"author": {"role": "user"}, "content": "Which tea?"},
                      {"author": {"type": "bot", "name": "Ada"}, "body": "Green tea."}]},
        [USER, ASSISTANT],
        {"conversation": [{"human": "Which tea?", "assistant": "Green tea."}]},
        {"dialogues": [{"messages": [USER, ASSISTANT]}]},
    ],
)  # fmt: skip
def test_every_system_s_words_for_user_and_assistant_are_understood(record: object) -> None:
    assert said("x.jsonl", lines(record)) == [ASKED]
    assert said("x.json", json.dumps([record] * 2, indent=2)) == [ASKED] * 2


def test_lines_of_different_systems_may_stand_in_one_file() -> None:
    sharegpt = {"conversations": [{"from": "human", "value": "Which tea?"}, {"from": "gpt", "value": "Green tea."}]}
    alpaca = {"instruction": "Which tea?", "input": "", "output": "Green tea."}
    assert said("x.jsonl", lines({"messages": [USER, ASSISTANT]}, sharegpt, alpaca)) == [ASKED] * 3


def test_a_role_that_is_not_known_is_named_and_teaches_nothing(tmp_path) -> None:
    records = [
        {"messages": [{"role": "tutor", "content": "Hello."}, {"role": "pupil", "content": "Hi."}]},
        {"messages": [{"role": "user", "content": "Open?"}, {"role": "wizard", "content": "Yes."}]},
        {"messages": [{"content": "Hello."}, {"role": "user", "content": "Hi."}]},
        {"messages": [{"name": "Ann", "content": "Hello."}, {"name": "Ben", "content": "Hi."}]},
    ]
    (tmp_path / "x.jsonl").write_text(lines(*records))
    dropped: Counter[str] = Counter()
    skipped: list[str] = []
    weights = [of_log(dialogue).weights for dialogue in read_logs([tmp_path / "x.jsonl"], dropped, skipped)]
    assert weights == [(0, 0), (0, 0), (0, 0), (1, 1)]
    assert dropped == {"unknown role": 4}
    assert len(skipped) == 1
    assert "x.jsonl" in skipped[0]
    assert "roles that are not known (utterances: tutor 1, pupil 1, wizard 1)" in skipped[0]


def test_an_assistant_s_message_of_weight_0_is_context_only() -> None:
    text = chat(USER, ASSISTANT | {"weight": 0}, USER, ASSISTANT | {"weight": 1}, USER, ASSISTANT)
    (dialogue,) = read("x.jsonl", text)
    assert of_log(dialogue).weights == (0, 0, 0, 1, 0, 1)


def test_what_one_speaker_sends_in_a_row_is_learned_only_if_all_of_it_may_be() -> None:
    (dialogue,) = read("x.jsonl", chat(USER, ASSISTANT | {"weight": 0}, ASSISTANT))
    assert of_log(dialogue).weights == (0, 0)


def test_messages_without_content_and_those_of_tools_are_passed_over() -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "price"}}]}
    reader = DialogueReader()
    text = (
        chat({"role": "developer", "content": "Sell."}, USER, call, {"role": "tool", "content": '{"p": 4}'}, ASSISTANT)
        + chat(USER, call | {"content": None}, {"role": "function", "name": "p", "content": "4"}, ASSISTANT)
        + chat(USER, {"role": "assistant", "refusal": "I cannot."}, USER, ASSISTANT)
    )
    assert [one.utterances for one in read("x.jsonl", text, reader)] == [
        ("Which tea?", "Green tea."),
        ("Which tea?", "Green tea."),
        ("Which tea? Which tea?", "Green tea."),
    ]
    assert reader.dropped["x"] == {"instruction or tool output": 3}


def test_parts_of_text_are_text_and_other_parts_are_not() -> None:
    asked = [{"type": "input_text", "text": "Which"}, {"type": "input_image", "image_url": "x"}, {"text": "tea?"}]
    answered = [{"type": "thinking", "thinking": "Hm."}, {"type": "output_text", "text": "Green tea."}]
    assert said("x.jsonl", chat({"role": "user", "content": asked}, {"role": "assistant", "content": answered})) == [
        ASKED
    ]


def test_an_export_of_chatgpt_is_read_along_the_current_way() -> None:
    def node(parent: str | None, role: str, text: str, **more: object) -> dict[str, object]:
        content = {"content_type": "text", "parts": [text]}
        return {"parent": parent, "message": {"author": {"role": role}, "content": content, **more}}

    mapping = {
        "root": {"parent": None, "message": None},
        "s": node("root", "system", "Be kind."),
        "a": node("s", "user", "Which tea?", create_time=1.5),
        "old": node("a", "assistant", "None."),
        "call": node("a", "assistant", "search()", recipient="browser"),
        "tool": node("call", "tool", "A page."),
        "now": node("tool", "assistant", "Green tea."),
    }
    text = json.dumps([{"title": "Tea", "mapping": mapping, "current_node": "now"}])
    assert said("conversations.json", text) == [ASKED]


def test_an_export_of_claude_is_read_without_its_thoughts() -> None:
    human = {"uuid": "m1", "sender": "human", "text": "Which tea?", "content": [{"type": "text", "text": "Which tea?"}]}
    answer = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Green tea."}]
    claude = {"uuid": "m2", "sender": "assistant", "text": "This block is not supported.", "content": answer}
    reader = DialogueReader()
    text = json.dumps(
        [{"uuid": "u", "name": "Tea", "chat_messages": [human, claude]}, {"uuid": "v", "chat_messages": []}]
    )
    assert [one.utterances for one in read("x.json", text, reader)] == [("Which tea?", "Green tea.")]
    assert reader.dropped["x"] == {"conversation without messages": 1}


def test_a_chat_of_telegram_is_read_without_its_notices() -> None:
    messages = [
        {"id": 0, "type": "service", "actor": "Ann", "action": "create_group", "text": "A group"},
        {"id": 1, "type": "message", "date": "2022-12-31T21:15:00", "from": "Ann", "text": "Did you buy the bread?"},
        {"id": 2, "type": "message", "date": "2022-12-31T21:16:00", "from": "Ben",
         "text": ["Yes, the ", {"type": "bold", "text": "warm"}, " one."]},
        {"id": 3, "type": "message", "date": "2022-12-31T21:17:00", "from": "Ann", "photo": "a.jpg", "text": ""},
    ]  # fmt: skip
    found = ("Did you buy the bread?", "Yes, the warm one.")
    chat = {"name": "Ann", "type": "personal_chat", "messages": messages}
    assert utterances("result.json", json.dumps(chat, indent=1)) == [found]
    assert utterances("result.json", json.dumps({"chats": {"list": [chat, chat]}}, indent=1)) == [found] * 2


def test_a_channel_of_discord_is_read_by_its_authors_without_notices_and_marks() -> None:
    def message(kind: str, name: str, text: str) -> dict[str, object]:
        return {"type": kind, "content": text, "author": {"id": "5", "name": name, "isBot": False}}

    messages = [
        message("GuildMemberJoin", "ann", "Joined the server."),
        message("Default", "ann", "Is anybody here?"),
        message("Default", "ann", "I have a question."),
        message("Reply", "ben", "I am, <@5> <:smile:123>"),
        message("ChannelPinnedMessage", "ann", "Pinned a message."),
    ]
    reader = DialogueReader()
    (dialogue,) = read("x.json", json.dumps({"guild": {}, "channel": {}, "messages": messages}, indent=1), reader)
    assert dialogue.utterances == ("Is anybody here? I have a question.", "I am,")
    assert dialogue.roles is None
    assert reader.dropped["x"] == {"notice or attachment": 2}


def test_a_day_of_slack_is_read_by_threads() -> None:
    day = [
        {"type": "message", "subtype": "channel_join", "user": "U1", "text": "<@U1> has joined", "ts": "1.0"},
        {"type": "message", "user": "U1", "text": "Hi <@U2>, see <https://a.example|this>", "ts": "2.0"},
        {"type": "message", "user": "U2", "text": "Nice.", "ts": "3.0"},
        {"type": "message", "user": "U1", "text": "A thread?", "ts": "4.0", "thread_ts": "4.0"},
        {"type": "message", "user": "U2", "text": "Yes.", "ts": "5.0", "thread_ts": "4.0"},
    ]
    assert utterances("x.json", json.dumps(day)) == [("Hi, see this", "Nice."), ("A thread?", "Yes.")]


def test_a_chat_of_messenger_stands_newest_first_in_broken_letters() -> None:
    messages = [
        {"sender_name": "Ben", "timestamp_ms": 3000, "content": "It\u00e2\u0080\u0099s fine."},
        {"sender_name": "Ann", "timestamp_ms": 2000, "content": "How are you?"},
        {"sender_name": "Ann", "timestamp_ms": 1000, "content": "Ann sent an attachment."},
    ]
    assert utterances("x.json", json.dumps({"messages": messages})) == [("How are you?", "It’s fine.")]


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "Which tea?", "input": "", "output": "Green tea."},
        {"instruction": "Which tea?", "context": None, "response": "Green tea.", "category": "qa"},
        {"prompt": "Which tea? ->", "completion": " Green tea.\n"},
        {"prompt": "Customer: Which tea?\nAgent:", "completion": " Green tea. END"},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"question": "Which tea?", "answer": "Green tea."},
        {"user": "Which tea?", "bot": "Green tea."},
        {"prompt": "Which tea?", "chosen": "Green tea.", "rejected": "Go away."},
        {"prompt": "Which tea?", "chosen": [USER, ASSISTANT], "rejected": [USER, ASSISTANT]},
        {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [ASSISTANT]},
        {"chosen": "\n\nHuman: Which tea?\n\nAssistant: Green tea.", "rejected": "\n\nHuman: a\n\nAssistant: b"},
        {"input": {"messages": [USER]}, "preferred_output": [ASSISTANT], "non_preferred_output": [ASSISTANT]},
        {"prompt": "Which tea?", "completion": "Green tea.", "label": True},
        {"text": "### Human: Which tea?### Assistant: Green tea."},
    ],
)
def test_prompts_and_their_completions_are_read(record: dict[str, object]) -> None:
    (dialogue,) = read("x.jsonl", lines(record))
    assert list(zip(dialogue.roles or (), dialogue.utterances, strict=True)) == ASKED
    assert of_log(dialogue).weights == (0, 1)


def test_what_an_instruction_is_about_belongs_to_it() -> None:
    record = {"instruction": "Translate.", "input": "der Tee", "output": "the tea"}
    assert said("x.jsonl", lines(record)) == [[("user", "Translate.\nder Tee"), ("assistant", "the tea")]]


def test_answers_that_were_rejected_or_marked_as_wrong_are_not_learned_and_counted() -> None:
    wrong = {"prompt": "Which tea?", "completion": "Bah.", "label": False}
    chosen = "\n\nHuman: Hi.\n\nAssistant: What?\n\nHuman: Which tea?\n\nAssistant: Green tea."
    reader = DialogueReader()
    (dialogue,) = read(
        "x.jsonl", lines(wrong, {"chosen": chosen, "rejected": "\n\nHuman: Hi.\n\nAssistant: Bah."}), reader
    )
    assert of_log(dialogue).weights == (0, 0, 0, 1)
    assert reader.dropped["x"] == {"answer marked as wrong": 1, "answer that was rejected": 1}


def test_what_was_said_before_a_prompt_is_context() -> None:
    record = {"instruction": "Which tea?", "output": "Green tea.", "history": [["Hi.", "Hello."], ["Open?", "Yes."]]}
    (dialogue,) = read("x.jsonl", lines(record))
    assert dialogue.utterances == ("Hi.", "Hello.", "Open?", "Yes.", "Which tea?", "Green tea.")
    assert of_log(dialogue).weights == (0, 0, 0, 0, 0, 1)


def test_messages_that_came_in_are_a_user_s() -> None:
    rows = [{"type": kind, "body": kind, "sent_at": time} for time, kind in enumerate(("incoming", "outgoing"))]
    assert said("x.json", json.dumps(rows)) == [[("user", "incoming"), ("assistant", "outgoing")]]


def test_a_message_a_line_is_put_together_by_conversation_or_by_what_answers_what() -> None:
    rows = [
        {"conversation_id": id, "role": role, "content": f"{role} {id}"} for role in ("user", "bot") for id in (1, 2)
    ]
    assert utterances("x.jsonl", lines(*rows)) == [("user 1", "bot 1"), ("user 2", "bot 2")]
    assert said("x.json", json.dumps([USER, ASSISTANT])) == [ASKED]
    tree = [
        {"message_id": "a", "parent_id": None, "text": "Which tea?", "role": "prompter"},
        {"message_id": "b", "parent_id": "a", "text": "Green tea.", "role": "assistant"},
        {"message_id": "c", "parent_id": "a", "text": "Black tea.", "role": "assistant"},
        {"message_id": "d", "parent_id": "b", "text": "Thanks.", "role": "prompter"},
    ]
    assert said("x.jsonl", lines(*tree)) == [[*ASKED, ("user", "Thanks.")], [ASKED[0], ("assistant", "Black tea.")]]


def test_a_line_of_an_unknown_shape_is_counted_and_the_known_one_is_named(tmp_path) -> None:
    (tmp_path / "x.jsonl").write_text(lines({"messages": [USER, ASSISTANT]}, {"paragraphs": []}, 7))
    skipped: list[str] = []
    dropped: Counter[str] = Counter()
    assert len(list(read_logs([tmp_path / "x.jsonl"], dropped, skipped))) == 1
    assert dropped == {"unreadable line": 2}
    assert "line 2 of" in skipped[0]
    assert '{"messages": [{"role": "user", "content": "..."}' in skipped[0]
    with pytest.raises(DocumentError, match=r"holds no dialogue; expected \{\"messages\""):
        read("x.jsonl", lines({"paragraphs": []}))


@pytest.mark.parametrize(
    "text",
    ["{1}{25}Where are my keys?\n{30}{50}On the table.\n", "[10][25]Where are my keys?\n[30][50]On the table.\n"],
)
@pytest.mark.parametrize("name", ["film.sub", "film.txt"])
def test_subtitles_of_an_unknown_format_are_called_so(name: str, text: str) -> None:
    with pytest.raises(DocumentError, match="of no known format"):
        read(name, text)


def test_text_that_begins_with_a_bracket_is_text() -> None:
    assert utterances("x.txt", "{laughs} Hello.\nHi.\n") == [("{laughs} Hello.", "Hi.")]
    assert utterances("x.txt", "[laughs] Hello.\nHi.\n") == [("[laughs] Hello.", "Hi.")]


def test_a_web_page_is_refused_by_name() -> None:
    with pytest.raises(DocumentError, match="a web page; export the chat as JSON"):
        read("messages.html", "<!DOCTYPE html>\n<html><div class='from_name'>Ann</div></html>")


def test_chat_jsonl_is_read_with_its_id_source_and_group() -> None:
    line = chat({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, id="7", source="logs")
    assert read("x.jsonl", line) == [Dialogue("7", "logs", "logs/7", ("Hi", "Hello"), ("user", "assistant"))]


def test_messages_without_a_speaker_alternate() -> None:
    assert utterances("x.jsonl", chat({"content": "One"}, {"content": "Two"})) == [("One", "Two")]


def test_system_messages_and_parts_and_null_contents_of_other_systems_are_understood() -> None:
    line = chat(
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "Hello"},
    )
    assert utterances("x.jsonl", line) == [("Hi", "Hello")]


def test_a_broken_line_of_chat_is_counted_and_the_rest_is_read() -> None:
    reader = DialogueReader()
    text = '{"messages": [\n[1]\n{"messages": [{"role": "user"}]}\n' + chat({"content": "One"}, {"content": "Two"})
    assert len(read("x.jsonl", text, reader)) == 1
    assert reader.dropped["x"]["unreadable line"] == 3


def test_scenes_of_one_episode_share_a_group() -> None:
    scenes = [chat({"content": "a"}, {"content": "b"}, id=f"trek/tng/s01e02/{scene}", source="t") for scene in (1, 2)]
    assert {dialogue.group for dialogue in read("x.jsonl", "".join(scenes))} == {"t/trek/tng/s01e02"}


def test_roles_stay_in_step_where_messages_are_merged() -> None:
    line = chat(
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": " "},
        {"role": "user", "content": "Are you open?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "assistant", "content": "Until six."},
    )
    assert said("x.jsonl", line) == [[("user", "Hi. Are you open?"), ("assistant", "Yes. Until six.")]]


def test_people_among_themselves_have_no_roles() -> None:
    line = chat({"name": "Ann", "content": "Hi"}, {"name": "Ben", "content": "Hello"})
    assert [one.roles for one in read("x.jsonl", line)] == [None]


def test_chat_in_a_json_list_is_read_like_its_lines() -> None:
    records = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}] * 2
    assert utterances("x.json", json.dumps(records, indent=1)) == [("Hi", "Hello")] * 2
