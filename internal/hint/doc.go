// Package hint attaches advice to errors: what the user can do about a failure.
//
// The rules for everything a user reads in a failure:
//
//   - An error says what failed and where, in one lower-case line without a full stop.
//   - A hint says what to do, in one line that starts with a verb or names the cause. It is
//     optional, and never repeats the error.
//   - Programs print them as "error: …" and "hint: …" lines with [Print]. Logs carry them as the
//     attributes "error" and "hint".
//   - Neither holds a token, a key or the output of another program. Text that came from the
//     network, a file or another process passes through internal/clean first.
//
// The package knows no particular error.
package hint
