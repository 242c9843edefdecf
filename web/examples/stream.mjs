// Talks with a running chatbot by the project's own client, word by word (Node 22 or newer, nothing to install):
//     node web/examples/stream.mjs http://localhost:8000 "Hi!" "How was your day?"
import { ChatClient } from "../static/client.js";

const [address, ...utterances] = process.argv.slice(2);
const chat = new ChatClient(address);
await chat.connect();
const conversation = await chat.create();
for (const text of utterances) {
  process.stdout.write(`you: ${text}\nbot: `);
  const reply = await chat.stream(conversation, text);
  for await (const words of reply) process.stdout.write(words);
  process.stdout.write("\n");
}
chat.close();
