// Evaluates flags with OpenFeature's SDK for Node: requests as JSON from stdin, what came of them to stdout.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

// The packages lie in the build folder.
const require = createRequire(`${process.env.SERIN_CLIENTS}/package.json`);
const { OpenFeature } = require('@openfeature/server-sdk');
const { OFREPProvider } = require('@openfeature/ofrep-provider');

const [url, token] = process.argv.slice(2);
const headers = token ? [['authorization', `Bearer ${token}`]] : [];
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url, headers }));
const client = OpenFeature.getClient();
const kinds = {
  string: client.getStringDetails,
  boolean: client.getBooleanDetails,
  integer: client.getNumberDetails,
  number: client.getNumberDetails,
  object: client.getObjectDetails,
};

const answers = [];
for (const asked of JSON.parse(readFileSync(0, 'utf8'))) {
  const context = { ...asked.attributes };
  if (asked.targetingKey !== undefined) context.targetingKey = asked.targetingKey;
  const details = await kinds[asked.kind].call(client, asked.key, asked.default, context);
  const { value, reason, variant, flagMetadata, errorCode, errorMessage } = details;
  answers.push({ value, reason, variant, metadata: flagMetadata, errorCode, errorMessage });
}
console.log(JSON.stringify(answers));
process.exit(0);
