"""Settings, read once: `config.toml` in the home and the environment.

`P2PQWEN_HOME` overrides where everything lives; otherwise platformdirs decides. `P2PQWEN_DHT_BOOTSTRAP` overrides
where the DHT is entered. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_CACHE` keep the meaning they have for
huggingface_hub.
"""
