// Package loglimit keeps events that repeat from filling a log.
//
// It decides which events are written and counts the others. It writes nothing itself.
package loglimit
