package mailbox

import (
	"sync"
	"time"
)

// chunkSize is chosen so that a chunk fills a 256 byte size class.
const chunkSize = 10

// item is one queued message. posted is zero unless waiting times are observed.
type item struct {
	message any
	posted  time.Duration
}

// chunk is a piece of a queue. Chunks are borrowed from a pool only while they hold messages, so that an idle mailbox
// owns none and a burst leaves nothing behind.
type chunk struct {
	items       [chunkSize]item
	read, write uint8
	next        *chunk
}

// queue is a FIFO of items. Its zero value is empty and owns no memory.
type queue struct {
	head, tail *chunk
	size       int
}

func (q *queue) push(pool *sync.Pool, it item) {
	if q.tail == nil || q.tail.write == chunkSize {
		c, ok := pool.Get().(*chunk)
		if !ok {
			c = new(chunk)
		}
		if q.tail == nil {
			q.head = c
		} else {
			q.tail.next = c
		}
		q.tail = c
	}
	q.tail.items[q.tail.write] = it
	q.tail.write++
	q.size++
}

func (q *queue) pop(pool *sync.Pool) (it item, ok bool) {
	c := q.head
	if c == nil {
		return item{}, false
	}
	it, c.items[c.read] = c.items[c.read], item{}
	c.read++
	q.size--
	if c.read == c.write && (c.write == chunkSize || c.next == nil) {
		q.head = c.next
		if q.head == nil {
			q.tail = nil
		}
		c.read, c.write, c.next = 0, 0, nil
		pool.Put(c)
	}
	return it, true
}
