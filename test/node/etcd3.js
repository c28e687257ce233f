// npm etcd3 against the server whose address is the only argument; prints TAP.
'use strict';
const assert = require('assert');
const { Etcd3 } = require('etcd3');

const client = new Etcd3({ hosts: process.argv[2] });

const tests = {
  async 'put, get, delete'() {
    assert.strictEqual(await client.get('foo').string(), null);
    await client.put('foo').value('bar');
    assert.strictEqual(await client.get('foo').string(), 'bar');
    assert.deepStrictEqual(await client.get('foo').buffer(), Buffer.from('bar'));
    await client.put('n').value(42);
    assert.strictEqual(await client.get('n').number(), 42);
    const gone = await client.delete().key('foo');
    assert.strictEqual(gone.deleted, '1');
    assert.strictEqual(await client.get('foo').exists(), false);
  },
  async 'prefixes, ranges, sorting, limits, counts'() {
    for (const k of ['c', 'a', 'b']) await client.put(`p/${k}`).value(k.toUpperCase());
    assert.deepStrictEqual(await client.getAll().prefix('p/').strings(), { 'p/a': 'A', 'p/b': 'B', 'p/c': 'C' });
    assert.deepStrictEqual(await client.getAll().prefix('p/').keys(), ['p/a', 'p/b', 'p/c']);
    assert.deepStrictEqual(await client.getAll().prefix('p/').sort('Key', 'Descend').limit(2).keys(), ['p/c', 'p/b']);
    assert.strictEqual(await client.getAll().prefix('p/').count(), 3);
    await client.delete().prefix('p/');
    assert.strictEqual(await client.getAll().prefix('p/').count(), 0);
  },
  async 'previous values come back when asked for'() {
    await client.put('prev').value('one');
    const answer = await client.put('prev').value('two').getPrevious();
    assert.strictEqual(answer.value.toString(), 'one');
  },
  async 'transactions take one branch'() {
    await client.put('t').value('1');
    const won = await client.if('t', 'Value', '==', '1')
      .and('t', 'Version', '==', 1)
      .then(client.put('t').value('2'), client.get('t'))
      .else(client.put('t').value('lost'))
      .commit();
    assert.strictEqual(won.succeeded, true);
    assert.strictEqual(won.responses.length, 2);
    assert.strictEqual(await client.get('t').string(), '2');
    const lost = await client.if('t', 'Value', '==', '1').then(client.delete().key('t')).else(client.get('t')).commit();
    assert.strictEqual(lost.succeeded, false);
    assert.strictEqual(lost.responses[0].response_range.kvs[0].value.toString(), '2');
  },
  async 'a namespace is a prefix'() {
    const ns = client.namespace('ns/');
    await ns.put('k').value('v');
    assert.strictEqual(await client.get('ns/k').string(), 'v');
    assert.strictEqual(await ns.get('k').string(), 'v');
  },
  async 'errors arrive as the client knows them'() {
    await assert.rejects(client.kv.compact({ revision: '999999' }), /future revision/);
    await assert.rejects(client.kv.put({ key: Buffer.alloc(0), value: Buffer.from('x') }), /key is not provided/);
  },
  async 'a watcher hears of puts and deletes, also of those before it was made'() {
    await client.put('w/a').value('0');
    const first = await client.put('w/a').value('1');
    const watcher = await client.watch().prefix('w/').startRevision(first.header.revision).withPreviousKV().create();
    const heard = [];
    const done = new Promise((resolve) => {
      watcher.on('put', (kv, prev) => heard.push(['put', kv.key.toString(), kv.value.toString(), prev && prev.value.toString()]));
      watcher.on('delete', (kv, prev) => { heard.push(['delete', kv.key.toString(), prev.value.toString()]); resolve(); });
    });
    await client.put('w/b').value('2');
    await client.put('elsewhere').value('3');
    await client.delete().key('w/b');
    await done;
    assert.deepStrictEqual(heard.map((row) => row.slice(0, 3)),
      [['put', 'w/a', '1'], ['put', 'w/b', '2'], ['delete', 'w/b', '2']]);
    assert.strictEqual(heard[0][3], '0');
    await watcher.cancel();
  },
  async 'a lease keeps its keys as long as it is kept alive, and takes them along'() {
    const lease = client.lease(5);
    await lease.put('l/a').value('x');
    await lease.put('l/b').value('y');
    await lease.keepaliveOnce();
    const left = await client.leaseClient.leaseTimeToLive({ ID: await lease.grant(), keys: true });
    assert.strictEqual(left.grantedTTL, '5');
    assert.deepStrictEqual(left.keys.map(String).sort(), ['l/a', 'l/b']);
    await lease.revoke();
    assert.strictEqual(await client.getAll().prefix('l/').count(), 0);
  },
  async 'a lock is held by one at a time'() {
    const lock = await client.lock('lock').ttl(5).acquire();
    await assert.rejects(client.lock('lock').ttl(5).acquire(), /Failed to acquire a lock/);
    await lock.release();
    const again = await client.lock('lock').ttl(5).acquire();
    await again.release();
  },
  async 'an election has one leader, and the next when it resigns'() {
    const one = client.election('vote', 5);
    const two = client.election('vote', 5);
    const first = one.campaign('one');
    await new Promise((resolve, reject) => { first.on('elected', resolve); first.on('error', reject); });
    assert.strictEqual(await two.leader(), 'one');
    const second = two.campaign('two');
    const taken = new Promise((resolve, reject) => { second.on('elected', resolve); second.on('error', reject); });
    const observer = await two.observe();
    assert.strictEqual(observer.leader(), 'one');
    const changed = new Promise((resolve) => observer.on('change', (value) => { if (value === 'two') resolve(); }));
    await first.resign();
    await taken;
    await changed;
    await observer.cancel();
    await second.resign();
  },
  async 'status of the member'() {
    const status = await client.maintenance.status();
    assert.strictEqual(status.version, '3.6.0');
    assert.notStrictEqual(status.leader, '0');
  },
};

(async () => {
  const names = Object.keys(tests);
  console.log(`1..${names.length}`);
  let failed = 0;
  for (const [i, name] of names.entries()) {
    try {
      await tests[name]();
      console.log(`ok ${i + 1} - ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`# ${String(error.stack).replace(/\n/g, '\n# ')}`);
      console.log(`not ok ${i + 1} - ${name}`);
    }
  }
  client.close();
  process.exit(failed ? 1 : 0);
})();
