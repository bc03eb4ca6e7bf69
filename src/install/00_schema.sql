-- Runs inside CREATE EXTENSION, with search_path pinned for every function below.
\echo Use "CREATE EXTENSION pipeline_ext" to load this file. \quit

CREATE SCHEMA pipelinedb;
COMMENT ON SCHEMA pipelinedb IS 'continuous queries over streams (pipeline_ext)';
GRANT USAGE ON SCHEMA pipelinedb TO PUBLIC;
