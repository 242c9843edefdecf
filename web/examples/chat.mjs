// Talks with a running chatbot by the official socket.io-client (Node 22 or newer, nothing to install):
//     node web/examples/chat.mjs http://localhost:8000 "Hi!" "How was your day?"
import { randomUUID } from "node:crypto";
import { io } from "../static/vendor/socket.io-client/socket.io.esm.min.mjs";

const [address, ...utterances] = process.argv.slice(2);
const socket = io(address, { transports: ["websocket"], auth: { protocol: 1 } });
await new Promise((resolve) => socket.once("ready", resolve));
const { conversation_id } = await socket.emitWithAck("conversation.create", {});
for (const text of utterances) {
  const reply = new Promise((resolve) => socket.on("event", ({ type, data }) => type === "reply.completed" && resolve(data.text)));
  await socket.emitWithAck("message.send", { conversation_id, client_msg_id: randomUUID(), text });
  console.log(`you: ${text}\nbot: ${await reply}`);
}
socket.close();
