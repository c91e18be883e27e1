package suggest

import "strings"

// Nearest returns the candidate that word was probably meant to be, or "" if none is close. It ignores
// case, hyphens and underscores; up to a third of the letters may differ.
func Nearest(word string, candidates []string) string {
	const longest = 64 // a longer word is no typing error, and the distance is quadratic
	if len(word) > longest {
		return ""
	}
	word = fold(word)
	best, bestDistance := "", len(word)/3+1
	for _, c := range candidates {
		if d := distance(word, fold(c)); d < bestDistance || d == 0 {
			best, bestDistance = c, d
		}
	}
	if best == "" && len(word) >= 3 { // "cert" for cert_file, "logging" for log
		for _, c := range candidates {
			if f := fold(c); len(f) >= 3 && (strings.HasPrefix(f, word) || strings.HasPrefix(word, f)) {
				return c
			}
		}
	}
	return best
}

func fold(s string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to turn a into
// b (optimal string alignment).
func distance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
