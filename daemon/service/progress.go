package service

// percentage is how much of some work is done, in percent. It never falls.
type percentage struct {
	// floor is where the work began anew: what is still to do is the rest.
	floor, now int
}

// at is what to show where the work since floor is at percent.
func (p *percentage) at(percent int) uint32 {
	p.now = max(p.now, p.floor+(100-p.floor)*percent/100)
	return uint32(p.now) //nolint:gosec // 0 to 100
}
