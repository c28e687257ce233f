// The other side of the exchange test: what Go's bbolt makes of a file.
//
//	bboltcheck check FILE            consistency check, key order, every key found by Get and Seek
//	bboltcheck dump FILE             all buckets, in the text form of test/bolt_dump.c
//	bboltcheck make FILE SEED        a new file with random content
//	bboltcheck change FILE SEED      random changes to a file that is there
//
// Standard library and bbolt only.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

func fail(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// A bucket seen through one interface, whether it is the top level or not.
type rows interface {
	Cursor() *bolt.Cursor
	Bucket(name []byte) *bolt.Bucket
}

func walk(b rows, visit func(key, value []byte, inner *bolt.Bucket)) {
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if v == nil {
			visit(k, nil, b.Bucket(k))
		} else {
			visit(k, v, nil)
		}
	}
}

func dump(out *bufio.Writer, b rows, sequence uint64) {
	fmt.Fprintf(out, "sequence %d\n", sequence)
	walk(b, func(key, value []byte, inner *bolt.Bucket) {
		if inner != nil {
			fmt.Fprintf(out, "bucket %x\n", key)
			dump(out, inner, inner.Sequence())
			fmt.Fprintln(out, "end")
		} else {
			fmt.Fprintf(out, "row %x %x\n", key, value)
		}
	})
}

func verify(b rows, get func(key []byte) []byte) {
	var last []byte
	c := b.Cursor()
	walk(b, func(key, value []byte, inner *bolt.Bucket) {
		if last != nil && bytes.Compare(last, key) >= 0 {
			fail("keys out of order: %x, %x", last, key)
		}
		last = append([]byte{}, key...)
		if k, _ := c.Seek(key); !bytes.Equal(k, key) {
			fail("Seek(%x) finds %x", key, k)
		}
		if inner != nil {
			verify(inner, inner.Get)
		} else if got := get(key); got == nil || !bytes.Equal(got, value) {
			fail("Get(%x) differs from the cursor", key)
		}
	})
}

func check(db *bolt.DB) {
	must(db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			fail("%v", err)
		}
		verify(tx, func([]byte) []byte { return nil })
		return nil
	}))
}

func randomKey(r *rand.Rand, space int) []byte {
	n := r.Intn(space)
	if n%5 == 0 {
		return []byte(fmt.Sprintf("some/longer/prefix/of/keys/%d", n))
	}
	return []byte(fmt.Sprintf("k%d", n))
}

func randomValue(r *rand.Rand) []byte {
	limit := 200
	if r.Intn(40) == 0 {
		limit = 30000
	}
	value := make([]byte, r.Intn(limit))
	r.Read(value)
	return value
}

// bbolt 1.3.6 deletes inner buckets while it iterates over their parent, skips some, and leaves
// their pages neither reachable nor free. So this deletes them one by one, deepest first.
func drop(b *bolt.Bucket, name []byte) {
	inner := b.Bucket(name)
	var names [][]byte
	walk(inner, func(key, value []byte, inner *bolt.Bucket) {
		if inner != nil {
			names = append(names, append([]byte{}, key...))
		}
	})
	for _, key := range names {
		drop(inner, key)
	}
	must(b.DeleteBucket(name))
}

func randomStep(r *rand.Rand, b *bolt.Bucket, space, deletes, depth int) {
	key := randomKey(r, space)
	inner := b.Bucket(key)
	switch {
	case inner != nil && r.Intn(4) == 0:
		drop(b, key)
	case inner != nil:
		if r.Intn(10) == 0 {
			must(inner.SetSequence(r.Uint64()))
		}
		for i := r.Intn(10); i > 0; i-- {
			randomStep(r, inner, space, deletes, depth+1)
		}
	case b.Get(key) == nil && depth < 6 && r.Intn(30) == 0:
		_, err := b.CreateBucket(key)
		must(err)
	case r.Intn(100) < deletes:
		must(b.Delete(key))
	default:
		must(b.Put(key, randomValue(r)))
	}
}

func change(db *bolt.DB, r *rand.Rand) {
	space := []int{40, 400, 4000}[r.Intn(3)]
	for t := 2 + r.Intn(12); t > 0; t-- {
		deletes := []int{10, 40, 80}[r.Intn(3)]
		must(db.Update(func(tx *bolt.Tx) error {
			for _, name := range []string{"b0", "b1", "key"} {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				must(err)
				b.FillPercent = 0.3 + r.Float64()*0.7
				for i := r.Intn(space); i > 0; i-- {
					randomStep(r, b, space, deletes, 1)
				}
			}
			return nil
		}))
	}
}

func main() {
	if len(os.Args) < 3 {
		fail("usage: bboltcheck check|dump|make|change FILE [SEED]")
	}
	verb, path := os.Args[1], os.Args[2]
	options := &bolt.Options{ReadOnly: verb == "check" || verb == "dump", NoSync: true}
	var r *rand.Rand
	if !options.ReadOnly {
		seed, err := strconv.ParseInt(os.Args[3], 10, 64)
		must(err)
		r = rand.New(rand.NewSource(seed))
		options.NoFreelistSync = seed%2 == 0
		options.FreelistType = bolt.FreelistMapType
		if verb == "make" && seed%3 == 0 {
			options.PageSize = 1024 << uint(seed/3%5)
		}
	}
	db, err := bolt.Open(path, 0600, options)
	must(err)
	switch verb {
	case "check":
		check(db)
	case "dump":
		out := bufio.NewWriter(os.Stdout)
		must(db.View(func(tx *bolt.Tx) error {
			dump(out, tx, 0)
			return nil
		}))
		must(out.Flush())
	case "make", "change":
		change(db, r)
	default:
		fail("no such verb: %s", verb)
	}
	must(db.Close())
}
