// Node's echo: what its buffers hand over is written back as it is.
'use strict';
const net = require('net');

const server = net.createServer((conn) => {
    conn.setNoDelay(true);
    conn.on('data', (chunk) => conn.write(chunk));
    conn.on('error', () => conn.destroy());
});
server.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
    console.log(server.address().port);
});
