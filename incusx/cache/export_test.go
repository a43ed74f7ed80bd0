package cache

import "time"

// ResyncEvery has everything read anew as often. It is called before Run.
func (c *Cache[V]) ResyncEvery(d time.Duration) { c.every = d }

// LookEvery has the members of a cluster looked at as often. It is called before Run.
func (c *Cache[V]) LookEvery(d time.Duration) { c.looks = d }

// KeepLog has that many changes kept at least. It is called before Run.
func (c *Cache[V]) KeepLog(n int) { c.store.most = n }
