// Go's clientv3 and its concurrency package against the server whose address is the only argument;
// prints TAP. Built by test/e2e/go_clientv3_test.py with Debian's Go and etcd sources.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
	"go.etcd.io/etcd/etcdserver/api/v3rpc/rpctypes"
)

var client *clientv3.Client

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func expect(ok bool, format string, args ...interface{}) {
	if !ok {
		panic(fmt.Errorf(format, args...))
	}
}

func putGetDelete(ctx context.Context) {
	_, err := client.Put(ctx, "k/a", "1")
	must(err)
	got, err := client.Get(ctx, "k/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend))
	must(err)
	expect(len(got.Kvs) == 1 && string(got.Kvs[0].Value) == "1", "got %v", got.Kvs)
	gone, err := client.Delete(ctx, "k/a", clientv3.WithPrevKV())
	must(err)
	expect(gone.Deleted == 1 && string(gone.PrevKvs[0].Value) == "1", "deleted %v", gone)
	_, err = client.Get(ctx, "k/a", clientv3.WithRev(got.Header.Revision+1000))
	expect(errors.Is(err, rpctypes.ErrFutureRev), "future revision: %v", err)
	_, err = client.Put(ctx, "k/a", "1", clientv3.WithLease(12345))
	expect(errors.Is(err, rpctypes.ErrLeaseNotFound), "lease: %v", err)
}

func watchFromThePast(ctx context.Context) {
	first, err := client.Put(ctx, "w/0", "0")
	must(err)
	for i := 1; i < 100; i++ {
		_, err := client.Put(ctx, fmt.Sprintf("w/%d", i%7), fmt.Sprint(i))
		must(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := first.Header.Revision
	for answer := range client.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(next), clientv3.WithPrevKV()) {
		must(answer.Err())
		for _, event := range answer.Events {
			expect(event.Kv.ModRevision == next, "revision %d instead of %d", event.Kv.ModRevision, next)
			expect(event.IsCreate() == (event.PrevKv == nil), "previous of %v", event)
			next++
		}
		if next == first.Header.Revision+100 {
			return
		}
	}
	panic("the watch ended")
}

func watchIsToldOfCompaction(ctx context.Context) {
	put, err := client.Put(ctx, "c/0", "0")
	must(err)
	_, err = client.Put(ctx, "c/0", "1")
	must(err)
	_, err = client.Compact(ctx, put.Header.Revision+1)
	must(err)
	answer := <-client.Watch(ctx, "c/0", clientv3.WithRev(put.Header.Revision))
	expect(answer.CompactRevision == put.Header.Revision+1, "compacted at %d", answer.CompactRevision)
	expect(errors.Is(answer.Err(), rpctypes.ErrCompacted), "error %v", answer.Err())
}

func watchProgress(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := client.Watch(ctx, "quiet", clientv3.WithCreatedNotify())
	created := <-events
	expect(created.Created, "created %v", created)
	must(client.RequestProgress(ctx))
	note := <-events
	expect(note.IsProgressNotify(), "progress %v", note)
}

func leases(ctx context.Context) {
	grant, err := client.Grant(ctx, 5)
	must(err)
	_, err = client.Put(ctx, "l/a", "x", clientv3.WithLease(grant.ID))
	must(err)
	alive, err := client.KeepAlive(ctx, grant.ID)
	must(err)
	expect((<-alive).TTL == 5, "keep-alive")
	left, err := client.TimeToLive(ctx, grant.ID, clientv3.WithAttachedKeys())
	must(err)
	expect(left.GrantedTTL == 5 && len(left.Keys) == 1 && string(left.Keys[0]) == "l/a", "time to live %v", left)
	all, err := client.Leases(ctx)
	must(err)
	expect(len(all.Leases) >= 1, "leases %v", all)
	_, err = client.Revoke(ctx, grant.ID)
	must(err)
	for range alive { // closes, because the lease is gone
	}
	_, err = client.KeepAliveOnce(ctx, grant.ID)
	expect(errors.Is(err, rpctypes.ErrLeaseNotFound), "keep-alive of a revoked lease: %v", err)
}

func session() *concurrency.Session {
	s, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	must(err)
	return s
}

// Each of many adds one to a plain number under the mutex; none may be lost.
func mutexExcludes(ctx context.Context) {
	const contenders, rounds = 8, 5
	var group sync.WaitGroup
	counter := 0
	for i := 0; i < contenders; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			s := session()
			defer s.Close()
			mutex := concurrency.NewMutex(s, "/mutex/")
			for r := 0; r < rounds; r++ {
				must(mutex.Lock(ctx))
				seen := counter
				time.Sleep(time.Millisecond)
				counter = seen + 1
				must(mutex.Unlock(ctx))
			}
		}()
	}
	group.Wait()
	expect(counter == contenders*rounds, "counted %d", counter)
}

func mutexGoesOnWhenASessionEnds(ctx context.Context) {
	one, two := session(), session()
	defer two.Close()
	must(concurrency.NewMutex(one, "/orphan/").Lock(ctx))
	locked := make(chan error, 1)
	go func() { locked <- concurrency.NewMutex(two, "/orphan/").Lock(ctx) }()
	select {
	case <-locked:
		panic("locked while another held it")
	case <-time.After(200 * time.Millisecond):
	}
	must(one.Close()) // revokes the lease
	must(<-locked)
}

func elections(ctx context.Context) {
	one, two := session(), session()
	defer one.Close()
	defer two.Close()
	first, second := concurrency.NewElection(one, "/vote"), concurrency.NewElection(two, "/vote")
	must(first.Campaign(ctx, "one"))
	must(first.Proclaim(ctx, "one again"))
	observeCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen := second.Observe(observeCtx)
	expect(string((<-seen).Kvs[0].Value) == "one again", "leader")
	won := make(chan error, 1)
	go func() { won <- second.Campaign(ctx, "two") }()
	must(first.Resign(ctx))
	must(<-won)
	for answer := range seen {
		if string(answer.Kvs[0].Value) == "two" {
			break
		}
	}
	leader, err := second.Leader(ctx)
	must(err)
	expect(string(leader.Kvs[0].Value) == "two", "leader %v", leader)
	must(second.Resign(ctx))
	_, err = first.Leader(ctx)
	expect(err == concurrency.ErrElectionNoLeader, "no leader: %v", err)
}

// Money moves between accounts in transactions that conflict; none may appear or vanish.
func stmKeepsTheSum(ctx context.Context) {
	const accounts, movers, moves = 4, 6, 10
	for i := 0; i < accounts; i++ {
		_, err := client.Put(ctx, fmt.Sprintf("bank/%d", i), "100")
		must(err)
	}
	var group sync.WaitGroup
	for m := 0; m < movers; m++ {
		group.Add(1)
		go func(m int) {
			defer group.Done()
			for i := 0; i < moves; i++ {
				from, to := fmt.Sprintf("bank/%d", (m+i)%accounts), fmt.Sprintf("bank/%d", (m+i*3+1)%accounts)
				_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
					var a, b int
					fmt.Sscan(stm.Get(from), &a)
					fmt.Sscan(stm.Get(to), &b)
					if from != to {
						stm.Put(from, fmt.Sprint(a-1))
						stm.Put(to, fmt.Sprint(b+1))
					}
					return nil
				}, concurrency.WithIsolation(concurrency.Serializable))
				must(err)
			}
		}(m)
	}
	group.Wait()
	got, err := client.Get(ctx, "bank/", clientv3.WithPrefix())
	must(err)
	sum := 0
	for _, kv := range got.Kvs {
		var n int
		fmt.Sscan(string(kv.Value), &n)
		sum += n
	}
	expect(sum == accounts*100, "the sum is %d", sum)
}

func run(name string, test func(context.Context)) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	defer func() {
		if what := recover(); what != nil {
			err = fmt.Errorf("%v", what)
		}
	}()
	test(ctx)
	return nil
}

func main() {
	tests := []struct {
		name string
		test func(context.Context)
	}{
		{"put, get, delete and their errors", putGetDelete},
		{"a watch from the past misses nothing", watchFromThePast},
		{"a watch is told of compaction", watchIsToldOfCompaction},
		{"a quiet watch is told of progress when it asks", watchProgress},
		{"leases are kept alive, listed, revoked", leases},
		{"a mutex excludes", mutexExcludes},
		{"a mutex goes on when the holder's session ends", mutexGoesOnWhenASessionEnds},
		{"elections are won, proclaimed, observed, resigned", elections},
		{"software transactions keep the sum", stmKeepsTheSum},
	}
	var err error
	client, err = clientv3.New(clientv3.Config{Endpoints: []string{os.Args[1]}, DialTimeout: 5 * time.Second})
	must(err)
	fmt.Printf("1..%d\n", len(tests))
	failed := 0
	for i, t := range tests {
		if err := run(t.name, t.test); err != nil {
			failed++
			fmt.Printf("# %s\nnot ok %d - %s\n", strings.ReplaceAll(err.Error(), "\n", "\n# "), i+1, t.name)
		} else {
			fmt.Printf("ok %d - %s\n", i+1, t.name)
		}
	}
	client.Close()
	if failed > 0 {
		os.Exit(1)
	}
}
