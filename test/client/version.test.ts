import { afterEach, expect, it } from 'vitest';
import { Client } from '../../src/client/client.ts';
import { CommServer, createToken } from '../../src/comm/server.ts';
import { CLOSE, PROTOCOL_VERSION } from '../../src/protocol/limits.ts';

const servers: CommServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

it('a scheduler of another version is named with both versions and what to do', async () => {
  const token = createToken();
  const server = new CommServer({ token });
  servers.push(server);
  // What a scheduler of protocol 7 says, in the words that every version uses.
  const words = `you speak protocol ${PROTOCOL_VERSION}, this scheduler speaks 7: install one version on both sides`;
  server.link('/client', wire =>
    wire.listen({ onFrame: () => wire.close(CLOSE.badVersion, words), onClose: () => undefined })
  );
  const address = await server.listen();
  await expect(Client.connect(address, { token })).rejects.toMatchObject({
    code: 'PROTOCOL_VERSION',
    message:
      `The scheduler at ${address} speaks Taskloom protocol 7, this process speaks ${PROTOCOL_VERSION}. ` +
      `Install the same taskloom version on both sides.`
  });
});
