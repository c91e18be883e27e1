//go:build !linux

package main

import "os"

func screenRows(*os.File) int { return 0 }
