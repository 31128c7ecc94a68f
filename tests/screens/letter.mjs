// Publishes a job whose headers nobody can read, as a producer: it becomes a dead letter. Usage: node letter.mjs <nats url>
import { createConnection } from 'node:net';

const { hostname, port } = new URL(process.argv[2]);
const headers = 'NATS/1.0\r\nNats-Msg-Id: marketing:no-colon\r\nno colon here\r\n\r\n';
const payload = '{"body":{"model":"fast","messages":[{"role":"user","content":"hello"}]}}';
const options = { user: process.env.NATS_USER, pass: process.env.NATS_PASSWORD, headers: true, verbose: false };

const socket = createConnection({ host: hostname, port: Number(port) });
let read = '';
socket.on('data', (data) => {
  read += data;
  if (read.includes('PONG')) socket.end();
  if (read.includes('-ERR')) throw new Error(read);
});
socket.write(`CONNECT ${JSON.stringify(options)}\r\n`);
socket.write(`HPUB tollgate.jobs.batch.marketing ${headers.length} ${headers.length + payload.length}\r\n${headers}${payload}\r\nPING\r\n`);
