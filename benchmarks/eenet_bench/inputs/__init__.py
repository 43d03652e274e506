"""What the runtime makes of faulty and missing images: `eenet-bench input-checks` and `missing-modality`."""
