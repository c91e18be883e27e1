// Command night plays a fleet's bad night: the region's MQTT broker and its data endpoint are gone for a while and come
// back with AWS's limits.
//
//	go run ./test/night -agents 1000 -outage 10m -o test/night/testdata/night.json   # real agents, in real time
//	go run ./test/night -draw docs/night.svg                                         # that, and a model of 100,000
package main
