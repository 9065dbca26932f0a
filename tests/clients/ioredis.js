// SPDX-License-Identifier: Apache-2.0
// ioredis against the RESP door: ioredis.js [HOST PORT]. Ends with 0, with 77 and
// a reason when ioredis is not there, or with what went wrong. Without a server
// it only looks for ioredis.
'use strict';

const assert = require('assert');

let Redis;
try {
	Redis = require('ioredis');
} catch (e) {
	console.log('ioredis is not installed (tools/clients, which needs npm)');
	process.exit(77);
}

if (process.argv.length < 4)
	process.exit(0);

const [host, port] = process.argv.slice(2);
const options = { host, port: Number(port), commandTimeout: 60000,
	maxRetriesPerRequest: 0 };

async function commands(r)
{
	assert.strictEqual(await r.ping(), 'PONG');
	assert.strictEqual(await r.set('a', 'one'), 'OK');
	assert.strictEqual(await r.get('a'), 'one');
	assert.strictEqual(await r.get('none'), null);
	assert.strictEqual(await r.set('a', 'two', 'NX'), null);
	assert.strictEqual(await r.set('b', 'x', 'EX', 100), 'OK');
	assert.ok(await r.ttl('b') > 0);
	assert.ok(await r.pttl('b') > 0);
	assert.strictEqual(await r.strlen('a'), 3);
	assert.strictEqual(await r.exists('a', 'b', 'none'), 2);
	assert.strictEqual(await r.mset({ c: '1', d: '2' }), 'OK');
	assert.deepStrictEqual(await r.mget('c', 'none', 'd'), ['1', null, '2']);
	assert.strictEqual(await r.dbsize(), 4);
	assert.match(await r.info(), /redis_version:/);
	assert.strictEqual(await r.del('a'), 1);
	assert.strictEqual(await r.unlink('c', 'd'), 2);
	await assert.rejects(r.call('NOSUCHCOMMAND'), /unknown command/);
	assert.strictEqual(await r.echo('still'), 'still');
}

async function binary(r)
{
	for (const size of [0, 1, 28, 4096, 65536, 1 << 20, 16 << 20]) {
		const body = Buffer.alloc(size);

		for (let i = 0; i < size; i++)
			body[i] = (i * 7 + (i >> 8)) & 255;
		assert.strictEqual(await r.set('binary', body), 'OK');
		assert.ok((await r.getBuffer('binary')).equals(body), size);
	}
}

// Everything that is asked in one turn of the loop goes out in one pipeline.
async function pipelines()
{
	const r = new Redis({ ...options, enableAutoPipelining: true });
	const n = 2000;

	await Promise.all(Array.from({ length: n }, (_, i) =>
		r.set(`p:${i}`, `${i}`)));
	const got = await Promise.all(Array.from({ length: n }, (_, i) =>
		r.get(`p:${i}`)));
	got.forEach((value, i) => assert.strictEqual(value, `${i}`));

	const answers = await r.pipeline().set('q', '1').get('q').del('q')
		.exec();
	assert.deepStrictEqual(answers, [[null, 'OK'], [null, '1'], [null, 1]]);

	const seen = new Set();
	for await (const keys of r.scanStream({ match: 'p:*', count: 100 }))
		keys.forEach((key) => seen.add(key));
	assert.strictEqual(seen.size, n);
	await r.quit();
}

async function main()
{
	const r = new Redis({ ...options, connectionName: 'ioredis-test' });

	// ioredis asks INFO first, to see that nothing is still being loaded
	await r.flushdb();
	await commands(r);
	await binary(r);
	await pipelines();
	assert.strictEqual(await r.client('GETNAME'), 'ioredis-test');
	await r.flushdb();
	assert.strictEqual(await r.dbsize(), 0);
	assert.strictEqual(await r.quit(), 'OK');
}

main().then(() => process.exit(0), (e) => {
	console.error(e);
	process.exit(1);
});
