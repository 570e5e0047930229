// The wrapper module of the tests: commands of two modules, one of them replaced.
module holdfast.test/wrapper

go 1.23

require (
	golang.org/x/example/hello v0.0.0-20250915201037-7f05d217867b
	rsc.io/quote v1.5.2
)

require (
	golang.org/x/text v0.0.0-20170915032832-14c0d48ead0c // indirect
	rsc.io/sampler v1.3.0 // indirect
)

replace rsc.io/sampler => rsc.io/sampler v1.99.99
