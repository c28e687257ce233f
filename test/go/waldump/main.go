// waldump shows a write-ahead log through etcd's own wal package, or writes one with it: the oracle
// for test/wal_dump.c, which prints the same lines.
package main

import (
	"fmt"
	"hash/crc32"
	"os"
	"strconv"

	"go.etcd.io/etcd/raft/raftpb"
	"go.etcd.io/etcd/wal"
	"go.etcd.io/etcd/wal/walpb"
	"go.uber.org/zap"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	check(err)
	return n
}

func read(dir string, start walpb.Snapshot) {
	w, err := wal.Open(zap.NewNop(), dir, start)
	check(err)
	defer w.Close()
	metadata, state, entries, err := w.ReadAll()
	check(err)
	fmt.Printf("metadata %x\n", metadata)
	fmt.Printf("state %d %d %d\n", state.Term, state.Vote, state.Commit)
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, e := range entries {
		fmt.Printf("entry %d %d %d %d %08x\n", e.Index, e.Term, e.Type, len(e.Data), crc32.Checksum(e.Data, table))
	}
}

func write(dir string, segment int64, count uint64) {
	wal.SegmentSizeBytes = segment
	w, err := wal.Create(zap.NewNop(), dir, []byte{8, 7, 16, 9})
	check(err)
	defer w.Close()
	for index := uint64(1); index <= count; index++ {
		size := index * 37 % 3000
		if index%50 == 0 {
			size = 200000
		}
		e := raftpb.Entry{Index: index, Term: 1 + index/100}
		if size > 0 {
			e.Data = make([]byte, size)
		}
		for i := range e.Data {
			e.Data[i] = byte(index + uint64(i))
		}
		var state raftpb.HardState
		if index%3 == 0 {
			state = raftpb.HardState{Term: e.Term, Vote: 7, Commit: index - 1}
		}
		check(w.Save(state, []raftpb.Entry{e}))
		if index == count/2 {
			check(w.SaveSnapshot(walpb.Snapshot{Index: index, Term: e.Term}))
		}
	}
}

func main() {
	if len(os.Args) == 5 && os.Args[1] == "write" {
		write(os.Args[2], int64(number(os.Args[3])), number(os.Args[4]))
		return
	}
	var start walpb.Snapshot
	if len(os.Args) == 5 {
		start = walpb.Snapshot{Index: number(os.Args[3]), Term: number(os.Args[4])}
	}
	read(os.Args[2], start)
}
