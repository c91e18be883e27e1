// Package signed sends signed HTTP requests to AWS, for services whose SDK module the program does without.
//
// It knows no service, repeats nothing and decodes no answer.
package signed
