package main

// damage is what a fault takes away while it lasts.
type damage struct {
	down []int    // nodes that do nothing
	cut  [][2]int // who does not reach whom
}

// damageOf says what a step takes away, done to a node and with another one.
func damageOf(s step, target, other, nodes int) (d damage) {
	each := func(do func(i int)) {
		for i := range nodes {
			if i != target {
				do(i)
			}
		}
	}
	switch s.What {
	case killNode, pauseNode, restartWith, diskFull, diskBroken:
		d.down = []int{target}
	case killTwo:
		d.down = []int{target, other}
	case killAll:
		d.down = append(d.down, target)
		each(func(i int) { d.down = append(d.down, i) })
	case cutOff, cutDeaf:
		each(func(i int) { d.cut = append(d.cut, [2]int{i, target}) })
	case cutBetween, cutDumb:
		d.cut = [][2]int{{target, other}}
	}
	return d
}

// majority reports whether some node and enough others to agree with hear each other,
// in spite of all damage.
func majority(nodes int, all []damage) bool {
	down, cut := map[int]bool{}, map[[2]int]bool{}
	for _, d := range all {
		for _, i := range d.down {
			down[i] = true
		}
		for _, c := range d.cut {
			cut[c] = true
		}
	}
	for i := range nodes {
		hear := 0
		for k := range nodes {
			if !down[i] && !down[k] && !cut[[2]int{i, k}] && !cut[[2]int{k, i}] {
				hear++
			}
		}
		if hear > nodes/2 {
			return true
		}
	}
	return false
}
